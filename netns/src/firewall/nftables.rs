//! nft's JSON, libnftables-json(5). Pure.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::chains::{BaseChain, Chains, Condition, Field, Rule, Value, Verdict};
use super::family::Family;
use super::packet::Hook;

/// The filter chains of all tables, by family and name of the table.
pub(super) fn parse(listing: &Json) -> BTreeMap<(String, String), Chains> {
    let mut tables: BTreeMap<(String, String), Chains> = BTreeMap::new();
    let objects = listing.get("nftables").and_then(Json::as_array);
    for object in objects.into_iter().flatten() {
        if let Some(chain) = object.get("chain") {
            let Some((family, table, name)) = names(chain, "name") else {
                continue;
            };
            let chains = tables
                .entry((family.to_owned(), table.to_owned()))
                .or_default();
            chains.of_bridges = family == "bridge";
            chains.family = family_of(family);
            chains.rules.entry(name.to_owned()).or_default();
            let hook = text(chain, "hook").and_then(Hook::named);
            if let Some(hook) = hook
                && text(chain, "type") == Some("filter")
            {
                chains.bases.push(BaseChain {
                    chain: name.to_owned(),
                    hook,
                    drops: text(chain, "policy") == Some("drop"),
                });
            }
        } else if let Some(rule) = object.get("rule")
            && let Some((family, table, chain)) = names(rule, "chain")
        {
            let chains = tables
                .entry((family.to_owned(), table.to_owned()))
                .or_default();
            let rules = chains.rules.entry(chain.to_owned()).or_default();
            let expressions = rule.get("expr").and_then(Json::as_array);
            read_rule(expressions.map_or(&[], Vec::as_slice), rules);
        }
    }
    tables
}

fn family_of(family: &str) -> Option<Family> {
    match family {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        _ => None,
    }
}

fn names<'a>(object: &'a Json, own: &str) -> Option<(&'a str, &'a str, &'a str)> {
    Some((
        text(object, "family")?,
        text(object, "table")?,
        text(object, own)?,
    ))
}

fn text<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Json::as_str)
}

/// Reads one rule; from a rule with a verdict map it makes one for each element.
fn read_rule(expressions: &[Json], rules: &mut Vec<Rule>) {
    let mut conditions = Vec::new();
    let mut shown: Vec<&str> = Vec::new();
    for expression in expressions {
        let Some((kind, content)) = expression.as_object().and_then(|o| o.iter().next()) else {
            continue;
        };
        shown.push(kind);
        let verdict = match kind.as_str() {
            "match" => {
                conditions.extend(read_match(content));
                continue;
            }
            // These are conditions; iptables' extensions (xt) may be.
            "limit" | "quota" | "xt" | "connlimit" | "ct count" => {
                conditions.push(Condition::Unknown);
                continue;
            }
            "vmap" => {
                read_map(content, &conditions, rules);
                return;
            }
            _ => match read_verdict(expression) {
                Some(verdict) => verdict,
                None => continue,
            },
        };
        rules.push(Rule {
            conditions,
            verdict,
            text: shown.join(" "),
        });
        return;
    }
    rules.push(Rule {
        conditions,
        verdict: Verdict::Continue,
        text: shown.join(" "),
    });
}

fn read_verdict(expression: &Json) -> Option<Verdict> {
    let (kind, content) = expression.as_object()?.iter().next()?;
    let target = || text(content, "target").unwrap_or_default().to_owned();
    match kind.as_str() {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "jump" => Some(Verdict::Jump(target())),
        "goto" => Some(Verdict::Goto(target())),
        "return" => Some(Verdict::Return),
        _ => None,
    }
}

fn read_map(map: &Json, conditions: &[Condition], rules: &mut Vec<Rule>) {
    let elements = map.pointer("/data/set").and_then(Json::as_array);
    let key = map.get("key");
    for element in elements.into_iter().flatten() {
        let (Some(value), Some(verdict)) = (element.get(0), element.get(1)) else {
            continue;
        };
        let mut conditions = conditions.to_vec();
        conditions.extend(condition(key, Some(value), false));
        rules.push(Rule {
            conditions,
            verdict: read_verdict(verdict).unwrap_or(Verdict::Continue),
            text: format!("vmap {value}"),
        });
    }
    if elements.is_none() {
        // A named map may hold any verdict.
        let mut conditions = conditions.to_vec();
        conditions.push(Condition::Unknown);
        rules.push(Rule {
            conditions,
            verdict: Verdict::Accept,
            text: "vmap".to_owned(),
        });
    }
}

fn read_match(content: &Json) -> Vec<Condition> {
    let not = match text(content, "op") {
        Some("==" | "in") => false,
        Some("!=") => true,
        _ => return vec![Condition::Unknown],
    };
    condition(content.get("left"), content.get("right"), not)
}

/// The conditions of one match. One on a port implies one on the protocol, which the JSON leaves out.
fn condition(left: Option<&Json>, right: Option<&Json>, not: bool) -> Vec<Condition> {
    let (Some(left), Some(right)) = (left, right) else {
        return vec![Condition::Unknown];
    };
    let mut all = Vec::new();
    let field = if let Some(key) = left.pointer("/meta/key").and_then(Json::as_str) {
        match key {
            "iif" | "iifname" => Field::Iif,
            "oif" | "oifname" => Field::Oif,
            "l4proto" => Field::Protocol,
            "nfproto" => Field::Family,
            _ => return vec![Condition::Unknown],
        }
    } else if let Some(key) = left.pointer("/ct/key").and_then(Json::as_str) {
        match key {
            "state" => Field::State,
            "status" => Field::Status,
            _ => return vec![Condition::Unknown],
        }
    } else if let Some(payload) = left.get("payload") {
        let protocol = text(payload, "protocol").unwrap_or_default();
        let is = |field, word: &str| Condition::Is {
            field,
            not: false,
            values: vec![Value::Word(word.to_owned())],
        };
        let of = |protocol: &str| is(Field::Protocol, protocol);
        // A condition on an address implies one on the family.
        match protocol {
            "ip" => all.push(is(Field::Family, "ipv4")),
            "ip6" => all.push(is(Field::Family, "ipv6")),
            _ => {}
        }
        match (protocol, text(payload, "field").unwrap_or_default()) {
            ("ip" | "ip6", "saddr") => Field::Saddr,
            ("ip" | "ip6", "daddr") => Field::Daddr,
            ("ip", "protocol") | ("ip6", "nexthdr") => Field::Protocol,
            ("tcp" | "udp", port @ ("sport" | "dport")) => {
                all.push(of(protocol));
                if port == "sport" {
                    Field::Sport
                } else {
                    Field::Dport
                }
            }
            ("th", "sport") => Field::Sport,
            ("th", "dport") => Field::Dport,
            ("tcp" | "udp" | "icmp" | "icmpv6" | "sctp" | "dccp", _) => {
                return vec![of(protocol), Condition::Unknown];
            }
            _ => {
                all.push(Condition::Unknown);
                return all;
            }
        }
    } else {
        return vec![Condition::Unknown];
    };
    match values(field, right) {
        Some(values) => all.push(Condition::Is { field, not, values }),
        None => all.push(Condition::Unknown),
    }
    all
}

/// The values of the right side; `None` where kvmc does not understand it, such as a named set.
fn values(field: Field, right: &Json) -> Option<Vec<Value>> {
    if let Some(items) = right
        .as_array()
        .or_else(|| right.get("set").and_then(Json::as_array))
    {
        return items.iter().map(|item| value(field, item)).collect();
    }
    Some(vec![value(field, right)?])
}

fn value(field: Field, item: &Json) -> Option<Value> {
    let ends = |key: &str| Some((item.get(key)?.get(0)?, item.get(key)?.get(1)?));
    match field {
        Field::Saddr | Field::Daddr => {
            if let Some(address) = item.as_str() {
                return Some(Value::Net(address.parse().ok()?));
            }
            if let Some((first, last)) = ends("range") {
                let (first, last) = (first.as_str()?, last.as_str()?);
                return Some(Value::Addresses(first.parse().ok()?, last.parse().ok()?));
            }
            let prefix = item.get("prefix")?;
            let length = prefix.get("len")?.as_u64()?;
            let text = format!("{}/{length}", text(prefix, "addr")?);
            Some(Value::Net(text.parse().ok()?))
        }
        Field::Sport | Field::Dport => {
            let port = |json: &Json| u16::try_from(json.as_u64()?).ok();
            if let Some((first, last)) = ends("range") {
                return Some(Value::Ports(port(first)?, port(last)?));
            }
            Some(Value::Ports(port(item)?, port(item)?))
        }
        _ => {
            let word = item.as_str()?;
            // A named set.
            if word.starts_with('@') {
                return None;
            }
            Some(Value::Word(word.to_owned()))
        }
    }
}

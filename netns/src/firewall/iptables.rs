//! The text of iptables-save(8) and ip6tables-save(8). Pure.

use super::chains::{BaseChain, Chains, Condition, Field, Rule, Value, Verdict};
use super::family::Family;
use super::packet::Hook;

/// The lines for iptables-restore(8) that delete the rules of this comment from the filter table, or from one chain.
pub(super) fn deletions(saved: &str, mark: &str, chain: Option<&str>) -> Vec<String> {
    filter_lines(saved)
        .filter(|line| is_marked(line, mark))
        .filter_map(|line| line.strip_prefix("-A "))
        .filter(|rest| chain.is_none_or(|c| rest.split(' ').next() == Some(c)))
        .map(|rest| format!("-D {rest}"))
        .collect()
}

/// How many rules a chain has without this comment.
pub(super) fn others_in(saved: &str, mark: &str, chain: &str) -> usize {
    filter_lines(saved)
        .filter_map(|line| line.strip_prefix("-A "))
        .filter(|rest| rest.split(' ').next() == Some(chain) && !is_marked(rest, mark))
        .count()
}

pub(super) fn is_marked(line: &str, mark: &str) -> bool {
    let words = words(line);
    words
        .iter()
        .zip(words.iter().skip(1))
        .any(|(option, value)| option == "--comment" && value == mark)
}

/// Whether there is a filter table.
pub(super) fn has_filter(saved: &str) -> bool {
    saved.lines().any(|line| line == "*filter")
}

fn filter_lines(saved: &str) -> impl Iterator<Item = &str> {
    saved
        .lines()
        .skip_while(|line| *line != "*filter")
        .take_while(|line| *line != "COMMIT")
}

/// The filter table, without the rules of `mark` when it is given.
pub(super) fn parse(saved: &str, family: Family, without: Option<&str>) -> Chains {
    let mut chains = Chains {
        family: Some(family),
        ..Chains::default()
    };
    for line in filter_lines(saved) {
        if let Some(declared) = line.strip_prefix(':') {
            let mut parts = declared.split(' ');
            let (Some(name), Some(policy)) = (parts.next(), parts.next()) else {
                continue;
            };
            chains.rules.entry(name.to_owned()).or_default();
            let hook = [Hook::Input, Hook::Forward, Hook::Output]
                .into_iter()
                .find(|h| h.chain() == name);
            if let Some(hook) = hook {
                chains.bases.push(BaseChain {
                    chain: name.to_owned(),
                    hook,
                    drops: policy == "DROP",
                });
            }
        }
    }
    let known: Vec<String> = chains.rules.keys().cloned().collect();
    for line in filter_lines(saved) {
        let Some(rest) = line.strip_prefix("-A ") else {
            continue;
        };
        if without.is_some_and(|mark| is_marked(line, mark)) {
            continue;
        }
        let words = words(rest);
        let Some((chain, arguments)) = words.split_first() else {
            continue;
        };
        let rule = read_rule(arguments, line, &known);
        chains.rules.entry(chain.clone()).or_default().push(rule);
    }
    chains
}

fn read_rule(arguments: &[String], line: &str, chains: &[String]) -> Rule {
    let mut conditions = Vec::new();
    let mut verdict = Verdict::Continue;
    let mut rest = arguments;
    let mut not = false;
    while let Some((option, after)) = rest.split_first() {
        let count = after
            .iter()
            .take_while(|w| !w.starts_with('-') && *w != "!")
            .count();
        let (values, next) = after.split_at(count);
        rest = next;
        let value = values.first().map_or("", String::as_str);
        match option.as_str() {
            "!" => {
                not = true;
                // `!` negates the option that follows.
                continue;
            }
            "-m" | "--comment" => {}
            "-j" | "-g" => {
                // The words that follow belong to the target.
                verdict = read_target(value, option == "-g", chains);
                break;
            }
            option => conditions.push(condition(option, value, not)),
        }
        not = false;
    }
    Rule {
        conditions,
        verdict,
        text: line.to_owned(),
    }
}

fn read_target(target: &str, goes: bool, chains: &[String]) -> Verdict {
    match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        chain if chains.iter().any(|c| c == chain) => {
            if goes {
                Verdict::Goto(chain.to_owned())
            } else {
                Verdict::Jump(chain.to_owned())
            }
        }
        _ => Verdict::Continue,
    }
}

fn condition(option: &str, value: &str, not: bool) -> Condition {
    let items = || value.split(',');
    let lower = || {
        items()
            .map(|w| Value::Word(w.to_ascii_lowercase()))
            .collect()
    };
    let is = |field, values: Option<Vec<Value>>| match values {
        Some(values) => Condition::Is { field, not, values },
        None => Condition::Unknown,
    };
    // iptables writes `+` where nft writes `*`.
    let link = || Some(vec![Value::Word(value.replace('+', "*"))]);
    let net = || Some(vec![Value::Net(value.parse().ok()?)]);
    let ports = || items().map(ports).collect::<Option<Vec<_>>>();
    match option {
        "-i" => is(Field::Iif, link()),
        "-o" => is(Field::Oif, link()),
        "-s" => is(Field::Saddr, net()),
        "-d" => is(Field::Daddr, net()),
        "-p" => is(Field::Protocol, Some(lower())),
        "--sport" | "--sports" => is(Field::Sport, ports()),
        "--dport" | "--dports" => is(Field::Dport, ports()),
        "--ctstate" | "--state" => is(Field::State, Some(lower())),
        "--dst-type" => is(Field::Cast, Some(lower())),
        _ => Condition::Unknown,
    }
}

fn ports(text: &str) -> Option<Value> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some(Value::Ports(first.parse().ok()?, last.parse().ok()?))
}

/// The words of a line. A word in quotes may hold blanks, and quotes behind a backslash.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => all.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    all.extend(word);
    all
}

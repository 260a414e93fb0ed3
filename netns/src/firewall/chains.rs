//! Firewall rules, as far as kvmc understands them. Pure.
//!
//! A rule with a condition that kvmc does not understand (a named set, a mark, a limit) counts neither as a certain accept
//! nor as a certain drop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::family::Family;
use super::packet::Hook;

/// The filter chains of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chains {
    pub(super) rules: BTreeMap<String, Vec<Rule>>,
    pub(super) bases: Vec<BaseChain>,
    /// The table has the family bridge. Its interfaces are ports of bridges, whose names kvmc does not compare.
    pub(super) of_bridges: bool,
    /// The family of its packets; `None` for both.
    pub(super) family: Option<Family>,
}

/// A chain that the kernel passes packets to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseChain {
    pub(super) chain: String,
    pub(super) hook: Hook,
    /// Its policy is to drop.
    pub(super) drops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
    /// As iptables or nft shows it.
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// It decides nothing: it counts, logs or marks.
    Continue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Is {
        field: Field,
        not: bool,
        values: Vec<Value>,
    },
    /// A verdict that kvmc does not understand.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Iif,
    Oif,
    Saddr,
    Daddr,
    Protocol,
    Sport,
    Dport,
    State,
    /// Conntrack's status, as `dnat`.
    Status,
    /// The type of the destination: `local`, `unicast`, `broadcast` or `multicast`.
    Cast,
    /// `ipv4` or `ipv6`.
    Family,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// In lower case where case does not matter; a final `*` of a link's name matches any end.
    Word(String),
    Net(IpNetwork),
    Addresses(IpAddr, IpAddr),
    Ports(u16, u16),
}

impl Chains {
    /// The links whose forwarded packets a rule accepts by the link's name.
    pub(super) fn accepted_links(&self) -> BTreeSet<&str> {
        let mut links = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let bases = self.bases.iter().filter(|b| b.hook == Hook::Forward);
        let mut next: Vec<_> = bases.map(|b| b.chain.as_str()).collect();
        while let Some(chain) = next.pop() {
            if self.of_bridges || !seen.insert(chain) {
                continue;
            }
            for rule in self.rules(chain) {
                match &rule.verdict {
                    Verdict::Accept => {
                        let [from, to] = [Field::Iif, Field::Oif].map(|f| rule.links(f));
                        // The host does not route within one link.
                        if from != to {
                            links.extend(from.into_iter().chain(to));
                        }
                    }
                    Verdict::Jump(to) | Verdict::Goto(to) => next.push(to),
                    Verdict::Drop | Verdict::Return | Verdict::Continue => {}
                }
            }
        }
        links
    }

    pub(super) fn rules(&self, chain: &str) -> &[Rule] {
        self.rules.get(chain).map_or(&[], Vec::as_slice)
    }

    /// The position of the rule by which a chain passes every packet to another.
    pub(super) fn jump(&self, from: &str, to: &str) -> Option<usize> {
        self.rules(from).iter().position(|rule| {
            rule.conditions.is_empty() && rule.verdict == Verdict::Jump(to.to_owned())
        })
    }
}

impl Rule {
    /// The links that it names in this field.
    fn links(&self, wanted: Field) -> Vec<&str> {
        let mut links = Vec::new();
        for condition in &self.conditions {
            if let Condition::Is {
                field,
                not: false,
                values,
            } = condition
                && *field == wanted
            {
                links.extend(values.iter().filter_map(|value| match value {
                    Value::Word(link) => Some(link.as_str()),
                    _ => None,
                }));
            }
        }
        links
    }
}

//! Rules of others, as far as they can be understood, and what becomes of a packet in them. Pure.
//!
//! What is not understood (a named set, a mark, a limit) neither accepts nor drops for certain.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use super::iptables::Family;
use super::packet::{Hook, Packet};

/// The filter chains of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chains {
    pub(super) rules: BTreeMap<String, Vec<Rule>>,
    pub(super) bases: Vec<Base>,
    /// Interfaces are ports of bridges here, whose names say nothing to us.
    pub(super) of_bridges: bool,
    /// The one that its packets are of; none when they are of both.
    pub(super) family: Option<Family>,
}

/// A chain that packets enter by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) chain: String,
    pub(super) hook: Hook,
    pub(super) drops: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
    /// As its tool shows it.
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// A counter, a log entry, a mark.
    Continue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Is {
        field: Field,
        not: bool,
        values: Vec<Value>,
    },
    /// Not understood.
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
    /// Conntrack's word on NAT.
    Status,
    /// Whether the destination is this host, another, or all.
    Cast,
    /// `ipv4` or `ipv6`.
    Family,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// In lower case where case means nothing; of links, a final `*` stands for any end.
    Word(String),
    Net(IpNetwork),
    Addresses(IpAddr, IpAddr),
    Ports(u16, u16),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    Dropped(Death),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Death {
    /// The chain it dies in.
    pub(super) chain: String,
    /// The rule; none for the policy of the base chain.
    pub(super) rule: Option<String>,
    /// The rule, or what led to it, is about some packets only: somebody meant it.
    pub(super) meant: bool,
    /// Where in the base chain: rules before this many let it pass.
    pub(super) position: usize,
    /// No rule that was not understood might have saved it.
    pub(super) certain: bool,
}

/// Chains nest no deeper in the kernel.
const DEEPEST: usize = 16;
/// Rules looked at for one packet; beyond, nothing is certain.
const MOST_STEPS: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

impl Chains {
    /// The fate of a packet that enters by `base`.
    pub(super) fn fate(&self, base: &Base, packet: &Packet) -> Fate {
        let mut walk = Walk {
            chains: self,
            packet,
            may_be_saved: false,
            steps: 0,
        };
        for (position, rule) in self.rules(&base.chain).iter().enumerate() {
            match walk.step(&base.chain, rule, false, 0) {
                Step::Next => {}
                Step::End => break,
                Step::Accept => return Fate::Accepted,
                Step::Drop { chain, rule, meant } => {
                    return Fate::Dropped(Death {
                        chain,
                        rule: Some(rule),
                        meant,
                        position,
                        certain: !walk.may_be_saved,
                    });
                }
            }
        }
        if !base.drops {
            return Fate::Accepted;
        }
        Fate::Dropped(Death {
            chain: base.chain.clone(),
            rule: None,
            meant: false,
            position: self.rules(&base.chain).len(),
            certain: !walk.may_be_saved,
        })
    }

    /// The links that rules for forwarded packets accept by name.
    pub(super) fn let_through(&self) -> BTreeSet<&str> {
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
                        // Within one link, nothing is routed.
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

    fn rules(&self, chain: &str) -> &[Rule] {
        self.rules.get(chain).map_or(&[], Vec::as_slice)
    }

    /// Where a chain jumps to another, for every packet.
    pub(super) fn jump(&self, from: &str, to: &str) -> Option<usize> {
        self.rules(from).iter().position(|rule| {
            rule.conditions.is_empty() && rule.verdict == Verdict::Jump(to.to_owned())
        })
    }
}

impl Rule {
    /// The links that it asks for in this field.
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

enum Step {
    /// The next rule.
    Next,
    /// The end of this chain.
    End,
    Accept,
    Drop {
        chain: String,
        rule: String,
        meant: bool,
    },
}

struct Walk<'a> {
    chains: &'a Chains,
    packet: &'a Packet,
    may_be_saved: bool,
    steps: usize,
}

impl Walk<'_> {
    fn step(&mut self, chain: &str, rule: &Rule, meant: bool, depth: usize) -> Step {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            self.may_be_saved = true;
            return Step::End;
        }
        let meant = meant || !rule.conditions.is_empty();
        match self.truth(rule) {
            Truth::No => Step::Next,
            Truth::Unknown => {
                self.may_be_saved |= match &rule.verdict {
                    Verdict::Accept | Verdict::Return => true,
                    Verdict::Jump(to) | Verdict::Goto(to) => {
                        matches!(self.chain(to, meant, depth), Step::Accept)
                    }
                    Verdict::Drop | Verdict::Continue => false,
                };
                Step::Next
            }
            Truth::Yes => match &rule.verdict {
                Verdict::Accept => Step::Accept,
                Verdict::Drop => Step::Drop {
                    chain: chain.to_owned(),
                    rule: rule.text.clone(),
                    meant,
                },
                Verdict::Return => Step::End,
                Verdict::Continue => Step::Next,
                Verdict::Jump(to) => self.chain(to, meant, depth),
                Verdict::Goto(to) => match self.chain(to, meant, depth) {
                    Step::Next => Step::End,
                    end => end,
                },
            },
        }
    }

    /// `Next` when the chain was left at its end.
    fn chain(&mut self, name: &str, meant: bool, depth: usize) -> Step {
        if depth >= DEEPEST {
            return Step::Next;
        }
        let chains = self.chains;
        for rule in chains.rules(name) {
            match self.step(name, rule, meant, depth + 1) {
                Step::Next => {}
                Step::End => break,
                verdict => return verdict,
            }
        }
        Step::Next
    }

    fn truth(&self, rule: &Rule) -> Truth {
        let mut all = Truth::Yes;
        for condition in &rule.conditions {
            match self.holds(condition) {
                Truth::No => return Truth::No,
                Truth::Unknown => all = Truth::Unknown,
                Truth::Yes => {}
            }
        }
        all
    }

    fn holds(&self, condition: &Condition) -> Truth {
        let Condition::Is { field, not, values } = condition else {
            return Truth::Unknown;
        };
        let packet = self.packet;
        let word = |word: &str| values.iter().any(|v| is_word(v, word));
        let address = |a: IpAddr| values.iter().any(|v| holds_address(v, a));
        let port = |port: u16| values.iter().any(|v| holds_port(v, port));
        let found = match field {
            Field::Iif | Field::Oif if self.chains.of_bridges => return Truth::Unknown,
            Field::Iif => word(&packet.iif),
            Field::Oif => word(&packet.oif),
            Field::Saddr => address(packet.saddr),
            Field::Daddr => address(packet.daddr),
            Field::Protocol => packet.protocol.names().iter().any(|name| word(name)),
            Field::Sport => port(packet.sport),
            Field::Dport => port(packet.dport),
            Field::State => word(if packet.established {
                "established"
            } else {
                "new"
            }),
            Field::Status => false,
            Field::Cast => word(match packet.hook {
                _ if packet.daddr == IpAddr::V4(Ipv4Addr::BROADCAST) => "broadcast",
                _ if packet.daddr.is_multicast() => "multicast",
                Hook::Input => "local",
                Hook::Forward | Hook::Output => "unicast",
            }),
            Field::Family => word(match packet.family() {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            }),
        };
        if found == *not { Truth::No } else { Truth::Yes }
    }
}

fn is_word(value: &Value, word: &str) -> bool {
    let Value::Word(pattern) = value else {
        return false;
    };
    match pattern.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => pattern == word,
    }
}

fn holds_address(value: &Value, address: IpAddr) -> bool {
    match value {
        Value::Net(net) => net.contains(address),
        Value::Addresses(first, last) => (*first..=*last).contains(&address),
        Value::Word(_) | Value::Ports(..) => false,
    }
}

fn holds_port(value: &Value, port: u16) -> bool {
    matches!(value, Value::Ports(first, last) if (*first..=*last).contains(&port))
}

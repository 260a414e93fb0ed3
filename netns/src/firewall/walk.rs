//! Follows a packet through the chains of one table. Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::chains::{BaseChain, Chains, Condition, Field, Rule, Value, Verdict};
use super::family::Family;
use super::packet::{Hook, Packet};

/// The outcome for a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    Dropped(DropPoint),
}

/// Where a packet is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DropPoint {
    /// The chain that drops it.
    pub(super) chain: String,
    /// The rule that drops it; none for the policy of the base chain.
    pub(super) rule: Option<String>,
    /// The rule, or a rule that jumped to its chain, has conditions.
    pub(super) is_selective: bool,
    /// How many rules of the base chain let it pass before.
    pub(super) position: usize,
    /// False when a rule that kvmc does not understand may accept it.
    pub(super) certain: bool,
}

/// The kernel's limit on jumps within jumps.
const DEEPEST: usize = 16;
/// Most rules to test one packet against. Beyond that, no outcome is certain.
const MOST_STEPS: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Yes,
    No,
    Unknown,
}

impl Chains {
    /// The fate of a packet that enters by `base`.
    pub(super) fn fate(&self, base: &BaseChain, packet: &Packet) -> Fate {
        let mut walk = Walk {
            chains: self,
            packet,
            may_be_accepted: false,
            steps: 0,
        };
        for (position, rule) in self.rules(&base.chain).iter().enumerate() {
            match walk.step(&base.chain, rule, false, 0) {
                Step::Next => {}
                Step::End => break,
                Step::Accept => return Fate::Accepted,
                Step::Drop {
                    chain,
                    rule,
                    is_selective,
                } => {
                    return Fate::Dropped(DropPoint {
                        chain,
                        rule: Some(rule),
                        is_selective,
                        position,
                        certain: !walk.may_be_accepted,
                    });
                }
            }
        }
        if !base.drops {
            return Fate::Accepted;
        }
        Fate::Dropped(DropPoint {
            chain: base.chain.clone(),
            rule: None,
            is_selective: false,
            position: self.rules(&base.chain).len(),
            certain: !walk.may_be_accepted,
        })
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
        is_selective: bool,
    },
}

struct Walk<'a> {
    chains: &'a Chains,
    packet: &'a Packet,
    may_be_accepted: bool,
    steps: usize,
}

impl Walk<'_> {
    fn step(&mut self, chain: &str, rule: &Rule, is_selective: bool, depth: usize) -> Step {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            self.may_be_accepted = true;
            return Step::End;
        }
        let is_selective = is_selective || !rule.conditions.is_empty();
        match self.truth(rule) {
            Truth::No => Step::Next,
            Truth::Unknown => {
                self.may_be_accepted |= match &rule.verdict {
                    Verdict::Accept | Verdict::Return => true,
                    Verdict::Jump(to) | Verdict::Goto(to) => {
                        matches!(self.chain(to, is_selective, depth), Step::Accept)
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
                    is_selective,
                },
                Verdict::Return => Step::End,
                Verdict::Continue => Step::Next,
                Verdict::Jump(to) => self.chain(to, is_selective, depth),
                Verdict::Goto(to) => match self.chain(to, is_selective, depth) {
                    Step::Next => Step::End,
                    end => end,
                },
            },
        }
    }

    /// Walks a chain; `Next` when the packet leaves it at its end.
    fn chain(&mut self, name: &str, is_selective: bool, depth: usize) -> Step {
        if depth >= DEEPEST {
            return Step::Next;
        }
        let chains = self.chains;
        for rule in chains.rules(name) {
            match self.step(name, rule, is_selective, depth + 1) {
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

//! Policy routing, ip-rule(8): which rule decides about a packet of this host.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Rules are asked in this order.
    pub priority: u32,
    action: Action,
    from: Option<IpNetwork>,
    to: Option<IpNetwork>,
    incoming: Option<String>,
    mark: Option<(u32, u32)>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
    users: Option<(u32, u32)>,
    /// Longest prefix of a route that does not count.
    suppressed: Option<u8>,
    /// It matches where its selectors do not.
    inverted: bool,
    /// A selector that no packet of this host to a node has: an outgoing link, a source port, a tunnel, a VRF.
    is_of_others: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Lookup(u32),
    Goto(u32),
    Nothing,
    Drop(&'static str),
}

/// A route that holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) table: u32,
    pub(super) destination: IpNetwork,
    pub(super) metric: u32,
    pub(super) kind: RouteType,
}

/// What decides about a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) rule: Rule,
    pub(super) table: Option<u32>,
    pub(super) route: Option<IpNetwork>,
}

/// Reads a rule.
pub(super) fn rule(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut rule = Rule {
        priority: 0,
        action: Action::Nothing,
        from: None,
        to: None,
        incoming: None,
        mark: None,
        protocol: None,
        ports: None,
        users: None,
        suppressed: None,
        inverted: header.flags.contains(RuleFlags::Invert),
        is_of_others: header.tos != 0,
    };
    let (mut table, mut target, mut mask) = (u32::from(header.table), 0, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Destination(to) => rule.to = IpNetwork::new(*to, header.dst_len).ok(),
            RuleAttribute::Source(from) => rule.from = IpNetwork::new(*from, header.src_len).ok(),
            RuleAttribute::Iifname(name) => rule.incoming = Some(name.clone()),
            RuleAttribute::FwMark(mark) => rule.mark = Some((*mark, u32::MAX)),
            RuleAttribute::FwMask(bits) => mask = Some(*bits),
            RuleAttribute::IpProtocol(protocol) => rule.protocol = Some(u8::from(*protocol)),
            RuleAttribute::DestinationPortRange(ports) => {
                rule.ports = Some((ports.start, ports.end));
            }
            RuleAttribute::UidRange(users) => rule.users = Some((users.start, users.end)),
            RuleAttribute::SuppressPrefixLen(longest) => {
                // The kernel writes -1 where there is none.
                rule.suppressed = u8::try_from(*longest).ok();
            }
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(priority) => target = *priority,
            RuleAttribute::L3MDev(is_on) => rule.is_of_others |= *is_on,
            RuleAttribute::Oifname(_) | RuleAttribute::SourcePortRange(_) => {
                rule.is_of_others = true;
            }
            RuleAttribute::TunId(id) => rule.is_of_others |= *id != 0,
            _ => {}
        }
    }
    if let (Some((_, bits)), Some(mask)) = (&mut rule.mark, mask) {
        *bits = mask;
    }
    rule.action = match header.action {
        RuleAction::ToTable => Action::Lookup(table),
        RuleAction::Goto => Action::Goto(target),
        RuleAction::Blackhole => Action::Drop("blackhole"),
        RuleAction::Unreachable => Action::Drop("unreachable"),
        RuleAction::Prohibit => Action::Drop("prohibit"),
        _ => Action::Nothing,
    };
    rule
}

impl Rule {
    /// Whether it is one of those that every host has: all packets to the tables local, main and default.
    pub(super) fn is_usual(&self) -> bool {
        const USUAL: [u8; 3] = [
            libc::RT_TABLE_LOCAL,
            libc::RT_TABLE_MAIN,
            libc::RT_TABLE_DEFAULT,
        ];
        let is_all = self.from.is_none() && self.to.is_none() && self.mark.is_none();
        let is_usual = |table| USUAL.iter().any(|usual| u32::from(*usual) == table);
        is_all && !self.inverted && matches!(self.action, Action::Lookup(t) if is_usual(t))
    }

    /// How it drops packets, if it does.
    pub(super) const fn drops(&self) -> Option<&'static str> {
        match self.action {
            Action::Drop(how) => Some(how),
            _ => None,
        }
    }

    /// Whether it selects a TCP packet that root's program on this host sends to a port of an address.
    fn selects(&self, to: IpAddr, port: u16) -> bool {
        // A packet of this host has no source address yet when its route is looked up.
        let all = self.from.is_none_or(|from| from.prefix() == 0)
            && self.to.is_none_or(|network| network.contains(to))
            && self.incoming.as_deref().is_none_or(|link| link == "lo")
            && self.mark.is_none_or(|(mark, mask)| mark & mask == 0)
            && (self.protocol).is_none_or(|p| i32::from(p) == libc::IPPROTO_TCP)
            && self.ports.is_none_or(|(a, b)| (a..=b).contains(&port))
            && self.users.is_none_or(|(first, _)| first == 0)
            && !self.is_of_others;
        all != self.inverted
    }
}

/// The first rule that decides about a packet. Pure; the kernel's own answer goes before it.
pub(super) fn first(
    rules: &[Rule],
    routes: &[Candidate],
    to: IpAddr,
    port: u16,
) -> Option<Decision> {
    let mut from = 0;
    for rule in rules {
        if rule.priority < from || !rule.selects(to, port) {
            continue;
        }
        match rule.action {
            Action::Nothing => {}
            // The kernel lets it lead forward only.
            Action::Goto(priority) => from = priority,
            Action::Drop(_) => {
                return Some(Decision {
                    rule: rule.clone(),
                    table: None,
                    route: None,
                });
            }
            Action::Lookup(table) => {
                let of_table = routes.iter().filter(|r| r.table == table);
                let best =
                    of_table.max_by_key(|r| (r.destination.prefix(), std::cmp::Reverse(r.metric)));
                let Some(best) = best.filter(|r| r.kind != RouteType::Throw) else {
                    continue;
                };
                let length = best.destination.prefix();
                if rule.suppressed.is_some_and(|longest| length <= longest) {
                    continue;
                }
                return Some(Decision {
                    rule: rule.clone(),
                    table: Some(table),
                    route: Some(best.destination),
                });
            }
        }
    }
    None
}

/// The name of a table that every host has; else its number.
pub(super) fn name(table: u32) -> String {
    match u8::try_from(table) {
        Ok(libc::RT_TABLE_LOCAL) => "local".to_owned(),
        Ok(libc::RT_TABLE_MAIN) => "main".to_owned(),
        Ok(libc::RT_TABLE_DEFAULT) => "default".to_owned(),
        _ => table.to_string(),
    }
}

/// As `ip rule` prints it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.priority)?;
        if self.inverted {
            f.write_str(" not")?;
        }
        match self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}")?;
            if mask != u32::MAX {
                write!(f, "/{mask:#x}")?;
            }
        }
        if let Some(link) = &self.incoming {
            write!(f, " iif {link}")?;
        }
        if let Some((first, last)) = self.users {
            write!(f, " uidrange {first}-{last}")?;
        }
        if self
            .protocol
            .is_some_and(|p| i32::from(p) == libc::IPPROTO_TCP)
        {
            f.write_str(" ipproto tcp")?;
        }
        match self.ports {
            Some((first, last)) if first == last => write!(f, " dport {first}")?,
            Some((first, last)) => write!(f, " dport {first}-{last}")?,
            None => {}
        }
        match self.action {
            Action::Lookup(table) => write!(f, " lookup {}", name(table))?,
            Action::Goto(priority) => write!(f, " goto {priority}")?,
            Action::Nothing => f.write_str(" nop")?,
            Action::Drop(how) => write!(f, " {how}")?,
        }
        match self.suppressed {
            Some(longest) => write!(f, " suppress_prefixlength {longest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

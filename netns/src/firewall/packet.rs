//! A packet as firewall rules see it.

use std::net::IpAddr;

use super::family::Family;
use crate::Protocol;

/// Where in the kernel a packet passes through rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Input,
    Forward,
    Output,
}

impl Hook {
    /// By nft's name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "input" => Some(Self::Input),
            "forward" => Some(Self::Forward),
            "output" => Some(Self::Output),
            _ => None,
        }
    }

    /// The chain of iptables' filter table.
    pub(super) const fn chain(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
        }
    }
}

/// The protocol in a packet's IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpProtocol {
    Transport(Protocol),
    Icmpv6,
}

impl IpProtocol {
    pub(super) const TCP: Self = Self::Transport(Protocol::Tcp);
    pub(super) const UDP: Self = Self::Transport(Protocol::Udp);

    /// The names that nft and iptables have for it.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Transport(Protocol::Tcp) => &["tcp"],
            Self::Transport(Protocol::Udp) => &["udp"],
            Self::Icmpv6 => &["ipv6-icmp", "icmpv6"],
        }
    }
}

/// The fields of a packet that rules match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Its description, as a message puts it behind "packets".
    pub(super) what: &'static str,
    pub(super) hook: Hook,
    /// The link that it came by; empty for none.
    pub(super) iif: String,
    /// The link that it leaves by; empty for none.
    pub(super) oif: String,
    pub(super) saddr: IpAddr,
    pub(super) daddr: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) sport: u16,
    pub(super) dport: u16,
    /// It belongs to a connection that has seen packets both ways.
    pub(super) established: bool,
    /// Both ends are guests of one bridge.
    pub(super) between_guests: bool,
}

impl Packet {
    pub(super) const fn family(&self) -> Family {
        match self.saddr {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

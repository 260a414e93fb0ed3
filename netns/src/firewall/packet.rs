//! Specimens of the packets that a cluster lives by, to be led through rule sets of others.

use std::net::Ipv4Addr;

use super::{Protocol, Site, Table};

/// Where on its way a packet meets the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Input,
    Forward,
    Output,
}

impl Hook {
    /// As nft has it.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "input" => Some(Self::Input),
            "forward" => Some(Self::Forward),
            "output" => Some(Self::Output),
            _ => None,
        }
    }

    /// iptables' chain.
    pub(super) const fn chain(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
        }
    }
}

/// A packet, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// What is lost with it, in the user's words.
    pub(super) what: &'static str,
    pub(super) hook: Hook,
    /// Empty where there is none.
    pub(super) iif: String,
    /// Empty where there is none.
    pub(super) oif: String,
    pub(super) saddr: Ipv4Addr,
    pub(super) daddr: Ipv4Addr,
    pub(super) protocol: Protocol,
    pub(super) sport: u16,
    pub(super) dport: u16,
    /// Of a connection that has been answered.
    pub(super) established: bool,
    /// Both ends are guests of one bridge.
    pub(super) between_guests: bool,
}

/// Any place outside: of the range for documentation, so that no rule means it in particular.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Any port that a client sends from.
const CLIENT: u16 = 49152;

/// All that must come through for the guests of this table.
pub(super) fn specimens(table: &Table, site: &Site) -> Vec<Packet> {
    let address = |n: u32| Ipv4Addr::from(u32::from(table.subnet.network()).saturating_add(n));
    let (guest, other) = (address(2), address(3));
    let uplink = site.uplink.clone().unwrap_or_default();
    let bridge = table.bridge.clone();
    let out = Packet {
        what: "from the nodes to the outside",
        hook: Hook::Forward,
        iif: bridge.clone(),
        oif: uplink.clone(),
        saddr: guest,
        daddr: OUTSIDE,
        protocol: Protocol::Tcp,
        sport: CLIENT,
        dport: 443,
        established: false,
        between_guests: false,
    };
    let back = Packet {
        what: "from the outside back to the nodes",
        iif: uplink,
        oif: bridge.clone(),
        saddr: OUTSIDE,
        daddr: guest,
        sport: 443,
        dport: CLIENT,
        established: true,
        ..out.clone()
    };
    // Of a bridge's own rules always, of others' with br_netfilter only.
    let across = Packet {
        what: "from node to node",
        oif: bridge.clone(),
        daddr: other,
        between_guests: true,
        ..out.clone()
    };
    let dhcp = Packet {
        what: "the nodes' DHCP requests",
        hook: Hook::Input,
        oif: String::new(),
        saddr: Ipv4Addr::UNSPECIFIED,
        daddr: Ipv4Addr::BROADCAST,
        protocol: Protocol::Udp,
        sport: 68,
        dport: 67,
        ..out.clone()
    };
    let dns = Packet {
        what: "the nodes' DNS queries",
        saddr: guest,
        daddr: table.gateway,
        sport: CLIENT,
        dport: 53,
        ..dhcp.clone()
    };
    let answer = Packet {
        what: "the nodes' answers to this host",
        protocol: Protocol::Tcp,
        sport: 22,
        dport: CLIENT,
        established: true,
        ..dns.clone()
    };
    let ssh = Packet {
        what: "from this host to the nodes",
        hook: Hook::Output,
        iif: String::new(),
        oif: bridge,
        saddr: table.gateway,
        daddr: guest,
        sport: CLIENT,
        dport: 22,
        established: false,
        ..answer.clone()
    };
    let mut all = vec![across, dhcp, dns, answer, ssh];
    all.extend(table.host_ports.iter().map(|port| Packet {
        what: "the nodes' requests to a port of this host",
        hook: Hook::Input,
        iif: table.bridge.clone(),
        oif: String::new(),
        saddr: guest,
        daddr: table.gateway,
        protocol: port.protocol,
        sport: CLIENT,
        dport: port.first,
        established: false,
        between_guests: false,
    }));
    if !table.isolated {
        all.extend([out, back]);
    }
    all
}

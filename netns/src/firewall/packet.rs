//! Specimens of the packets that a cluster lives by, to be led through rule sets of others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::iptables::Family;
use super::{HostPort, Protocol, Site, Table};

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

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Of(Protocol),
    /// Of IPv6: without it nobody finds a neighbour.
    Icmp6,
}

impl Carried {
    /// As the tools have it.
    pub(super) const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Of(Protocol::Tcp) => &["tcp"],
            Self::Of(Protocol::Udp) => &["udp"],
            Self::Icmp6 => &["ipv6-icmp", "icmpv6"],
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
    pub(super) saddr: IpAddr,
    pub(super) daddr: IpAddr,
    pub(super) protocol: Carried,
    pub(super) sport: u16,
    pub(super) dport: u16,
    /// Of a connection that has been answered.
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

/// Any place outside: of the ranges for documentation, so that no rule means it in particular.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Any link-local address.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Any port that a client sends from.
const CLIENT: u16 = 49152;
const TCP: Carried = Carried::Of(Protocol::Tcp);
const UDP: Carried = Carried::Of(Protocol::Udp);

/// All that must come through for the guests of this table.
pub(super) fn specimens(table: &Table, site: &Site) -> Vec<Packet> {
    let address = |n: u32| Ipv4Addr::from(u32::from(table.subnet.network()).saturating_add(n));
    let v4 = Ends {
        guest: address(2).into(),
        other: address(3).into(),
        gateway: table.gateway.into(),
        outside: OUTSIDE.into(),
        uplink: site.uplink.clone(),
        words: &WORDS,
    };
    let mut all = v4.packets(table);
    all.push(Packet {
        what: "the nodes' DHCP requests",
        saddr: Ipv4Addr::UNSPECIFIED.into(),
        daddr: Ipv4Addr::BROADCAST.into(),
        sport: 68,
        dport: 67,
        ..v4.dns(&table.bridge)
    });
    let (Some(prefix), Some(gateway)) = (table.prefix6, table.gateway6) else {
        return all;
    };
    let address = |n: u128| Ipv6Addr::from(u128::from(prefix.network()).saturating_add(n));
    let v6 = Ends {
        guest: address(2).into(),
        other: address(3).into(),
        gateway: gateway.into(),
        outside: OUTSIDE6.into(),
        uplink: site.uplink6.clone().or_else(|| site.uplink.clone()),
        words: &WORDS6,
    };
    all.extend(v6.packets(table));
    let solicitation = Packet {
        what: "the nodes' IPv6 neighbour discovery",
        daddr: ALL_NODES.into(),
        protocol: Carried::Icmp6,
        ..v6.dns(&table.bridge)
    };
    let advertisement = Packet {
        what: "this host's IPv6 router advertisements",
        hook: Hook::Output,
        iif: String::new(),
        oif: table.bridge.clone(),
        saddr: ROUTER.into(),
        ..solicitation.clone()
    };
    all.extend([solicitation, advertisement]);
    all
}

/// What packets of one family are, in the user's words.
struct Words {
    out: &'static str,
    back: &'static str,
    across: &'static str,
    dns: &'static str,
    answer: &'static str,
    ssh: &'static str,
    port: &'static str,
}

const WORDS: Words = Words {
    out: "from the nodes to the outside",
    back: "from the outside back to the nodes",
    across: "from node to node",
    dns: "the nodes' DNS queries",
    answer: "the nodes' answers to this host",
    ssh: "from this host to the nodes",
    port: "the nodes' requests to a port of this host",
};

const WORDS6: Words = Words {
    out: "from the nodes to the outside by IPv6",
    back: "from the outside back to the nodes by IPv6",
    across: "from node to node by IPv6",
    dns: "the nodes' DNS queries by IPv6",
    answer: "the nodes' answers to this host by IPv6",
    ssh: "from this host to the nodes by IPv6",
    port: "the nodes' requests to a port of this host by IPv6",
};

/// Who there is of one family.
struct Ends {
    guest: IpAddr,
    other: IpAddr,
    gateway: IpAddr,
    outside: IpAddr,
    uplink: Option<String>,
    words: &'static Words,
}

impl Ends {
    fn dns(&self, bridge: &str) -> Packet {
        Packet {
            what: self.words.dns,
            hook: Hook::Input,
            iif: bridge.to_owned(),
            oif: String::new(),
            saddr: self.guest,
            daddr: self.gateway,
            protocol: UDP,
            sport: CLIENT,
            dport: 53,
            established: false,
            between_guests: false,
        }
    }

    /// What is the same in both families.
    fn packets(&self, table: &Table) -> Vec<Packet> {
        let uplink = self.uplink.clone().unwrap_or_default();
        let bridge = table.bridge.clone();
        let words = self.words;
        let dns = self.dns(&bridge);
        let out = Packet {
            what: words.out,
            hook: Hook::Forward,
            oif: uplink.clone(),
            daddr: self.outside,
            protocol: TCP,
            dport: 443,
            ..dns.clone()
        };
        let back = Packet {
            what: words.back,
            iif: uplink,
            oif: bridge.clone(),
            saddr: self.outside,
            daddr: self.guest,
            sport: 443,
            dport: CLIENT,
            established: true,
            ..out.clone()
        };
        // Of a bridge's own rules always, of others' with br_netfilter only.
        let across = Packet {
            what: words.across,
            oif: bridge.clone(),
            daddr: self.other,
            between_guests: true,
            ..out.clone()
        };
        let answer = Packet {
            what: words.answer,
            protocol: TCP,
            sport: 22,
            dport: CLIENT,
            established: true,
            ..dns.clone()
        };
        let ssh = Packet {
            what: words.ssh,
            hook: Hook::Output,
            iif: String::new(),
            oif: bridge,
            saddr: self.gateway,
            daddr: self.guest,
            sport: CLIENT,
            dport: 22,
            established: false,
            ..answer.clone()
        };
        let port = |port: &HostPort| Packet {
            what: words.port,
            protocol: Carried::Of(port.protocol),
            dport: port.first,
            ..dns.clone()
        };
        let ports: Vec<_> = table.host_ports.iter().map(port).collect();
        let mut all = vec![across, dns, answer, ssh];
        all.extend(ports);
        if !table.isolated {
            all.extend([out, back]);
        }
        all
    }
}

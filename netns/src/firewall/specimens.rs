//! The packets that a cluster needs: one specimen of each kind, which is tested against the rules of other programs. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::host_network::HostNetwork;
use super::host_port::HostPort;
use super::packet::{Hook, IpProtocol, Packet};
use super::table::Table;

/// Hosts outside, in the ranges for documentation, so that no rule names them in particular.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// A link-local address.
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// A port that clients send from.
const CLIENT: u16 = 49152;

/// One of each kind of packet that the guests of this table send or receive.
pub(super) fn specimens(table: &Table, host: &HostNetwork) -> Vec<Packet> {
    let address = |n: u32| Ipv4Addr::from(u32::from(table.subnet.network()).saturating_add(n));
    let v4 = Endpoints {
        guest: address(2).into(),
        other: address(3).into(),
        gateway: table.gateway.into(),
        outside: OUTSIDE.into(),
        uplink: host.uplink.clone(),
        names: &NAMES,
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
    let v6 = Endpoints {
        guest: address(2).into(),
        other: address(3).into(),
        gateway: gateway.into(),
        outside: OUTSIDE6.into(),
        uplink: host.uplink6.clone().or_else(|| host.uplink.clone()),
        names: &NAMES6,
    };
    all.extend(v6.packets(table));
    let solicitation = Packet {
        what: "the nodes' IPv6 neighbour discovery",
        daddr: ALL_NODES.into(),
        protocol: IpProtocol::Icmpv6,
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

/// The names of the packets of one family in messages.
struct Names {
    out: &'static str,
    back: &'static str,
    across: &'static str,
    dns: &'static str,
    answer: &'static str,
    ssh: &'static str,
    port: &'static str,
}

const NAMES: Names = Names {
    out: "from the nodes to the outside",
    back: "from the outside back to the nodes",
    across: "from node to node",
    dns: "the nodes' DNS queries",
    answer: "the nodes' answers to this host",
    ssh: "from this host to the nodes",
    port: "the nodes' requests to a port of this host",
};

const NAMES6: Names = Names {
    out: "from the nodes to the outside by IPv6",
    back: "from the outside back to the nodes by IPv6",
    across: "from node to node by IPv6",
    dns: "the nodes' DNS queries by IPv6",
    answer: "the nodes' answers to this host by IPv6",
    ssh: "from this host to the nodes by IPv6",
    port: "the nodes' requests to a port of this host by IPv6",
};

/// The addresses of one family between which packets go.
struct Endpoints {
    guest: IpAddr,
    other: IpAddr,
    gateway: IpAddr,
    outside: IpAddr,
    uplink: Option<String>,
    names: &'static Names,
}

impl Endpoints {
    fn dns(&self, bridge: &str) -> Packet {
        Packet {
            what: self.names.dns,
            hook: Hook::Input,
            iif: bridge.to_owned(),
            oif: String::new(),
            saddr: self.guest,
            daddr: self.gateway,
            protocol: IpProtocol::UDP,
            sport: CLIENT,
            dport: 53,
            established: false,
            between_guests: false,
        }
    }

    /// The packets that both families have.
    fn packets(&self, table: &Table) -> Vec<Packet> {
        let uplink = self.uplink.clone().unwrap_or_default();
        let bridge = table.bridge.clone();
        let names = self.names;
        let dns = self.dns(&bridge);
        let out = Packet {
            what: names.out,
            hook: Hook::Forward,
            oif: uplink.clone(),
            daddr: self.outside,
            protocol: IpProtocol::TCP,
            dport: 443,
            ..dns.clone()
        };
        let back = Packet {
            what: names.back,
            iif: uplink,
            oif: bridge.clone(),
            saddr: self.outside,
            daddr: self.guest,
            sport: 443,
            dport: CLIENT,
            established: true,
            ..out.clone()
        };
        // Our own rules always see these packets, the rules of others only with br_netfilter.
        let across = Packet {
            what: names.across,
            oif: bridge.clone(),
            daddr: self.other,
            between_guests: true,
            ..out.clone()
        };
        let answer = Packet {
            what: names.answer,
            protocol: IpProtocol::TCP,
            sport: 22,
            dport: CLIENT,
            established: true,
            ..dns.clone()
        };
        let ssh = Packet {
            what: names.ssh,
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
            what: names.port,
            protocol: IpProtocol::Transport(port.protocol),
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

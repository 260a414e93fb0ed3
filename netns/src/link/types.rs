//! Links, addresses and routes as values: those of the kernel, and wanted ones.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::MacAddr;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique in its namespace.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<MacAddr>,
    /// Its alias, `IFLA_IFALIAS`.
    pub alias: Option<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The kind of its driver (`bridge`, `veth`, `tun`); none for hardware and the loopback.
    pub kind: Option<String>,
    /// The index of the bridge, bond or VRF that it is a port of.
    pub master: Option<u32>,
    /// Whether it is set up; it may have no carrier.
    pub up: bool,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The index of the link.
    pub link: u32,
    /// The name of the link.
    pub link_name: String,
    /// The address with its prefix length.
    pub network: IpNetwork,
}

/// A route of any table but `local`, which has the host's own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination; with prefix length 0 it is a default route.
    pub destination: IpNetwork,
    /// The index of its link; of several next hops the first one's.
    pub link: Option<u32>,
    /// The name of that link.
    pub link_name: Option<String>,
    /// The router; none for a destination on the link.
    pub gateway: Option<IpAddr>,
    /// The routing table; 254 is the main table.
    pub table: u32,
    /// Its metric: of two routes to one destination the kernel takes the lower.
    pub metric: u32,
}

/// A wanted bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address. Without one it would follow its ports'.
    pub mac: MacAddr,
    /// Its MTU in bytes. Without one it would follow its ports'.
    pub mtu: u32,
    /// Whether it passes LLDP frames on, which bridges drop by default.
    pub lldp: bool,
    /// The host's address on it, with its prefix length.
    pub address: Ipv4Network,
    /// The host's IPv6 address; without one IPv6 is off on the bridge.
    pub address6: Option<Ipv6Network>,
}

/// A wanted tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapSpec {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The name of the bridge that it becomes a port of.
    pub bridge: String,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// A tap that waits to take the place of another, see [`Links::create_spare_tap`](super::Links::create_spare_tap).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpareTap {
    /// Its name as long as it waits, at most 15 bytes.
    pub name: String,
    /// The tap whose name and place it gets.
    pub takes_place_of: TapSpec,
    /// The name of that one then, at most 15 bytes.
    pub old_name: String,
}

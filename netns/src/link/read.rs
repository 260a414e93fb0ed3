//! Reads netlink messages into this crate's types.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
pub(super) use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{InfoBridge, InfoData, LinkAttribute, LinkFlags, LinkInfo},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
};

use super::rule::Candidate;
use super::types::{Address, Link, Route};
use crate::MacAddr;

pub(super) fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        alias: None,
        mtu: 0,
        kind: None,
        master: None,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(octets) => {
                link.mac = <[u8; 6]>::try_from(octets.as_slice()).ok().map(MacAddr)
            }
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = Some(kind.to_string());
                    }
                }
            }
            _ => {}
        }
    }
    link
}

/// The driver's settings of a bridge.
pub(super) fn bridge_settings(message: &LinkMessage) -> impl Iterator<Item = &InfoBridge> {
    let infos = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        });
    let settings = infos.flatten().filter_map(|info| match info {
        LinkInfo::Data(InfoData::Bridge(settings)) => Some(settings),
        _ => None,
    });
    settings.flatten()
}

pub(super) fn address(message: &AddressMessage, links: &[Link]) -> Option<Address> {
    let mut local = None;
    let mut peer = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Local` is the host's and `Address` the peer's; IPv6 has no `Local`.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            _ => {}
        }
    }
    let network = IpNetwork::new(local.or(peer)?, message.header.prefix_len).ok()?;
    let link = message.header.index;
    Some(Address {
        link,
        link_name: name_of(link, links),
        network,
    })
}

/// The main routing table.
pub(super) const MAIN_TABLE: u8 = RouteHeader::RT_TABLE_MAIN;

pub(super) fn route(message: &RouteMessage, links: &[Link]) -> Option<Route> {
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    let mut table = u32::from(message.header.table);
    let mut destination = unspecified;
    let (mut link, mut gateway, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::MultiPath(hops) => link = hops.first().map(|hop| hop.interface_index),
            _ => {}
        }
    }
    if table == u32::from(nix::libc::RT_TABLE_LOCAL) {
        return None;
    }
    let destination = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
    let link_name = link.map(|index| name_of(index, links));
    Some(Route {
        destination,
        link,
        link_name,
        gateway,
        table,
        metric,
    })
}

/// The table of a route.
pub(super) fn table_of(message: &RouteMessage) -> Option<u32> {
    let mut attributes = message.attributes.iter();
    let number = attributes.find_map(|attribute| match attribute {
        RouteAttribute::Table(number) => Some(*number),
        _ => None,
    });
    number.or_else(|| Some(u32::from(message.header.table)).filter(|table| *table != 0))
}

/// A route of any table, as policy routing needs it; none for broadcasts.
pub(super) fn candidate(message: &RouteMessage) -> Option<Candidate> {
    let unspecified: IpAddr = match message.header.address_family {
        AddressFamily::Inet => [0; 4].into(),
        AddressFamily::Inet6 => [0; 16].into(),
        _ => return None,
    };
    let (mut destination, mut metric) = (unspecified, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address)?,
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let kind = message.header.kind;
    let is_of_packets = !matches!(kind, RouteType::Broadcast | RouteType::Multicast);
    Some(Candidate {
        table: table_of(message)?,
        destination: IpNetwork::new(destination, message.header.destination_prefix_length).ok()?,
        metric,
        kind,
    })
    .filter(|_| is_of_packets)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The name of a link; its number if it was made after `links` was read.
pub(super) fn name_of(index: u32, links: &[Link]) -> String {
    let found = links.iter().find(|link| link.index == index);
    found.map_or_else(|| format!("link {index}"), |link| link.name.clone())
}

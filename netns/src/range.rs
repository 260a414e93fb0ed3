//! Checks of subnets and link names, and conflicts of a subnet with the host's networks. Pure.

use std::{fmt, net::Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};

use crate::{Address, Route};

/// The subnet cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not of the form address/length.
    #[error("invalid subnet `{0}`; expected one such as 192.168.80.0/24")]
    Syntax(String),
    /// An IPv6 prefix.
    #[error("subnet `{0}` is IPv6; expected an IPv4 subnet such as 192.168.80.0/24")]
    Ipv6(String),
    /// Bits are set beyond the prefix.
    #[error("subnet {given} has host bits set; did you mean {meant}?")]
    HostBits {
        /// As given.
        given: Ipv4Network,
        /// The subnet that holds it.
        meant: Ipv4Network,
    },
    /// Too few addresses, or too many.
    #[error(
        "subnet {0} has an unusable size; expected a prefix from /{MIN_PREFIX} to /{MAX_PREFIX}"
    )]
    Size(Ipv4Network),
    /// A block with a meaning of its own.
    #[error("subnet {subnet} cannot be used: {block} is {purpose}")]
    Reserved {
        /// As given.
        subnet: Ipv4Network,
        /// The block that it is in.
        block: Ipv4Network,
        /// The use of the block.
        purpose: &'static str,
    },
    /// Addresses of the internet, or for documentation.
    #[error(
        "subnet {0} is not private; expected one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
    )]
    Public(Ipv4Network),
}

/// The name cannot be given to a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("link name `{name}` {reason}")]
pub struct NameError {
    /// The name.
    pub name: String,
    reason: NameReason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum NameReason {
    #[error("is empty")]
    Empty,
    #[error("has {0} bytes; Linux allows {MAX_LINK_NAME}")]
    Long(usize),
    #[error("has the character {0:?}, which a link name cannot have")]
    Letter(char),
    #[error("is reserved")]
    Reserved,
}

/// A shorter prefix would only make the address pool larger than any cluster needs.
const MIN_PREFIX: u8 = 16;
/// The longest prefix with addresses for a gateway and a guest.
const MAX_PREFIX: u8 = 30;
/// `IFNAMSIZ` without the final zero.
const MAX_LINK_NAME: usize = 15;

/// Blocks of RFC 6890 that a network of hosts cannot have.
const RESERVED: [(Ipv4Network, &str); 5] = [
    (block([0, 0, 0, 0], 8), "\"this network\""),
    (block([127, 0, 0, 0], 8), "loopback"),
    (block([169, 254, 0, 0], 16), "link-local"),
    (block([224, 0, 0, 0], 4), "multicast"),
    (block([240, 0, 0, 0], 4), "reserved"),
];

/// Blocks that are not on the internet: RFC 1918, the shared space of RFC 6598, the benchmark range of RFC 2544.
const PRIVATE: [Ipv4Network; 5] = [
    block([10, 0, 0, 0], 8),
    block([172, 16, 0, 0], 12),
    block([192, 168, 0, 0], 16),
    block([100, 64, 0, 0], 10),
    block([198, 18, 0, 0], 15),
];

/// The blocks to search for a free subnet, in order: seldom used blocks first.
const CANDIDATES: [Ipv4Network; 6] = [
    block([10, 80, 0, 0], 12),
    block([172, 16, 0, 0], 12),
    block([192, 168, 0, 0], 16),
    block([10, 0, 0, 0], 8),
    // A VPN may route all of RFC 1918, and has no reason to route these.
    block([198, 18, 0, 0], 15),
    block([100, 64, 0, 0], 10),
];

/// The shortest prefix of a route that counts as a conflict. A shorter one covers more than any private block and is in
/// effect a default route, such as a VPN's pair 0.0.0.0/1 and 128.0.0.0/1.
pub const SHORTEST_PLACE: u8 = 8;

const fn block([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Network {
    match Ipv4Network::new_checked(Ipv4Addr::new(a, b, c, d), prefix) {
        Some(network) => network,
        // Only at compile time; a constant function needs a value.
        None => panic_free(),
    }
}

const fn panic_free() -> Ipv4Network {
    match Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0) {
        Some(network) => network,
        None => panic_free(),
    }
}

/// A network of the host that overlaps a wanted subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The wanted subnet.
    pub wanted: Ipv4Network,
    /// The object that it overlaps.
    pub what: ConflictWith,
}

/// The object that a wanted subnet overlaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictWith {
    /// An address of a link of this host.
    Interface {
        /// The link.
        name: String,
        /// Its address, with the length of the prefix.
        network: Ipv4Network,
    },
    /// A route of this host.
    Route {
        /// Where it leads.
        destination: Ipv4Network,
        /// The link that packets leave by, if it has one.
        link: Option<String>,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} overlaps ", self.wanted)?;
        match &self.what {
            ConflictWith::Interface { name, network } => write!(f, "{network} on {name}"),
            ConflictWith::Route {
                destination,
                link: Some(link),
            } => write!(f, "the route to {destination} by {link}"),
            ConflictWith::Route {
                destination,
                link: None,
            } => write!(f, "the route to {destination}"),
        }
    }
}

/// The first address or else route of this host that overlaps `want`.
///
/// Routes with a prefix shorter than [`SHORTEST_PLACE`] do not count. Addresses and routes of `ignore_link` do not count: an
/// existing bridge does not conflict with itself.
pub fn overlap(
    want: Ipv4Network,
    addresses: &[Address],
    routes: &[Route],
    ignore_link: Option<u32>,
) -> Option<Conflict> {
    let interface = addresses
        .iter()
        .filter(|address| Some(address.link) != ignore_link)
        .find_map(|address| {
            let IpNetwork::V4(network) = address.network else {
                return None;
            };
            let name = address.link_name.clone();
            network
                .overlaps(want)
                .then_some(ConflictWith::Interface { name, network })
        });
    let route = || {
        let others = routes
            .iter()
            .filter(|route| ignore_link.is_none() || route.link != ignore_link);
        others.into_iter().find_map(|route| {
            let IpNetwork::V4(destination) = route.destination else {
                return None;
            };
            let collides = destination.prefix() >= SHORTEST_PLACE && destination.overlaps(want);
            collides.then(|| ConflictWith::Route {
                destination,
                link: route.link_name.clone(),
            })
        })
    };
    interface
        .or_else(route)
        .map(|what| Conflict { wanted: want, what })
}

/// As [`overlap`], but for routes of the main table to more than the wanted subnet: for its own addresses, the subnet's route
/// wins over those. In other tables a rule may have them looked up first.
pub fn insoluble(want: Ipv4Network, addresses: &[Address], routes: &[Route]) -> Option<Conflict> {
    const MAIN: u32 = 254;
    let gives_way = |route: &&Route| {
        let IpNetwork::V4(destination) = route.destination else {
            return true;
        };
        route.table == MAIN && destination.prefix() < want.prefix()
    };
    let others: Vec<Route> = routes.iter().filter(|r| !gives_way(r)).cloned().collect();
    overlap(want, addresses, &others, None)
}

/// A private subnet of this prefix length that overlaps nothing in `taken`.
///
/// `taken` has the networks of addresses and routes; default routes among them do not count.
pub fn free_subnet(prefix: u8, taken: &[IpNetwork]) -> Option<Ipv4Network> {
    let taken: Vec<Ipv4Network> = taken
        .iter()
        .filter_map(|network| match network {
            IpNetwork::V4(network) if network.prefix() >= SHORTEST_PLACE => Some(*network),
            _ => None,
        })
        .collect();
    CANDIDATES
        .iter()
        .find_map(|candidates| first_free(*candidates, prefix, &taken))
}

fn first_free(within: Ipv4Network, prefix: u8, taken: &[Ipv4Network]) -> Option<Ipv4Network> {
    if !(within.prefix()..=32).contains(&prefix) {
        return None;
    }
    let size = 1_u64 << (32 - prefix);
    let mut start = u64::from(u32::from(within.network()));
    let end = u64::from(u32::from(within.broadcast()));
    while start + size - 1 <= end {
        let candidate =
            Ipv4Network::new(Ipv4Addr::from(u32::try_from(start).ok()?), prefix).ok()?;
        let Some(hit) = taken.iter().find(|network| network.overlaps(candidate)) else {
            return Some(candidate);
        };
        // The next subnet after the one that is taken.
        let past = u64::from(u32::from(hit.broadcast())) + 1;
        start = past.max(start + size).next_multiple_of(size);
    }
    None
}

/// Checks that `text` is an IPv4 subnet for guests: private, with a usable size, without host bits.
pub fn validate_subnet(text: &str) -> Result<Ipv4Network, SubnetError> {
    let network = match text.parse::<IpNetwork>() {
        Ok(IpNetwork::V4(network)) if text.contains('/') => network,
        Ok(IpNetwork::V6(_)) => return Err(SubnetError::Ipv6(text.to_owned())),
        _ => return Err(SubnetError::Syntax(text.to_owned())),
    };
    let subnet = Ipv4Network::new(network.network(), network.prefix())
        .map_err(|_| SubnetError::Syntax(text.to_owned()))?;
    if let Some((block, purpose)) = RESERVED
        .iter()
        .find(|(block, _)| block.contains(subnet.ip()))
    {
        return Err(SubnetError::Reserved {
            subnet: network,
            block: *block,
            purpose,
        });
    }
    if !(MIN_PREFIX..=MAX_PREFIX).contains(&network.prefix()) {
        return Err(SubnetError::Size(network));
    }
    if network != subnet {
        return Err(SubnetError::HostBits {
            given: network,
            meant: subnet,
        });
    }
    if !PRIVATE.iter().any(|block| block.contains(subnet.ip())) {
        return Err(SubnetError::Public(network));
    }
    Ok(subnet)
}

/// Checks that a link can have this name: in the kernel, in `/proc/sys` and in nft's text.
pub fn validate_link_name(name: &str) -> Result<(), NameError> {
    // The kernel forbids `/`, `:` and whitespace, and replaces `%d` by a number. In nft's text a quote ends the name and an
    // asterisk matches any.
    let forbidden = |letter: char| {
        !letter.is_ascii()
            || letter.is_ascii_control()
            || letter.is_ascii_whitespace()
            || "/:%*\"\\".contains(letter)
    };
    let reason = if name.is_empty() {
        NameReason::Empty
    } else if name.len() > MAX_LINK_NAME {
        NameReason::Long(name.len())
    } else if let Some(letter) = name.chars().find(|letter| forbidden(*letter)) {
        NameReason::Letter(letter)
    } else if [".", "..", "lo", "all", "default"].contains(&name) {
        // `all` and `default` are folders in /proc/sys/net/*/conf.
        NameReason::Reserved
    } else {
        return Ok(());
    };
    Err(NameError {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(test)]
#[path = "range_tests.rs"]
mod tests;

//! Names and numbers of a cluster's networks: derived, so that they are the same each time.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use kvmc_netns::MacAddr;
use sha2::{Digest, Sha256};

use crate::ids::{hex, mac};
use crate::state::ClusterDir;

/// The longest name that a link can have: `IFNAMSIZ` without the closing zero.
const LONGEST: usize = 15;

/// The first address is the host's: router, DHCP and name server.
pub(crate) fn gateway(subnet: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

/// The name of a bridge's nft table.
pub(crate) fn table(bridge: &str) -> String {
    let word = bridge.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("kvmc_{word}")
}

/// The same each time for a bridge of a cluster of a state folder, and another for any other.
pub(crate) fn bridge_mac(dir: &ClusterDir, bridge: &str) -> MacAddr {
    mac(&dir.mark(), &format!("bridge {bridge}"), 0)
}

/// Readable where 15 bytes allow, else from a hash. A hyphen more than a tap has, so that no network's name
/// makes a tap's of it.
pub(crate) fn bridge_name(main: &str, network: &str) -> String {
    let readable = format!("{main}--{network}");
    if readable.len() <= LONGEST {
        return readable;
    }
    let digest = Sha256::digest(readable.as_bytes());
    format!("kvmb{}", hex(digest.get(..5).unwrap_or_default()))
}

/// The name of a node's tap: readable where 15 bytes allow, else from a hash.
pub(crate) fn tap_name(bridge: &str, node: &str) -> String {
    let readable = format!("{bridge}-{node}");
    if readable.len() <= LONGEST {
        return readable;
    }
    let digest = Sha256::digest(readable.as_bytes());
    format!("kvmc{}", hex(digest.get(..5).unwrap_or_default()))
}

/// A unique local prefix (RFC 4193): the same each time for a cluster of this host, another for each of
/// its networks.
pub(crate) fn prefix6(cluster: &str, number: u16) -> Ipv6Network {
    let host = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    prefix6_of(host.trim(), cluster, number)
}

fn prefix6_of(host: &str, cluster: &str, number: u16) -> Ipv6Network {
    let digest = Sha256::digest(format!("kvmc ula\0{host}\0{cluster}"));
    let mut octets = [0; 16];
    let [first, global @ .., high, low, _, _, _, _, _, _, _, _] = &mut octets;
    *first = 0xfd;
    for (to, from) in global.iter_mut().zip(digest) {
        *to = from;
    }
    [*high, *low] = number.to_be_bytes();
    // A length of 64 is always fine; the other arm is for the compiler.
    Ipv6Network::new(Ipv6Addr::from(octets), 64)
        .unwrap_or_else(|_| Ipv6Network::from(Ipv6Addr::from(octets)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_unique_local_and_the_same_each_time() {
        let prefix = prefix6_of("host", "k80", 3);
        assert_eq!(prefix, prefix6_of("host", "k80", 3));
        let [first, .., high, low, _, _, _, _, _, _, _, _] = prefix.ip().octets();
        assert_eq!((first, high, low), (0xfd, 0, 3));
        assert_eq!((prefix.prefix(), prefix.network()), (64, prefix.ip()));
        for other in [
            prefix6_of("other", "k80", 3),
            prefix6_of("host", "k81", 3),
            prefix6_of("host", "k80", 2),
        ] {
            assert_ne!(prefix, other);
        }
    }

    #[test]
    fn bridges_have_readable_names_where_they_fit_and_short_ones_always() {
        assert_eq!(bridge_name("k80", "storage"), "k80--storage");
        let long = bridge_name("bridge-of-mine1", "storage");
        assert!(long.len() <= LONGEST, "{long}");
        assert_ne!(long, bridge_name("bridge-of-mine1", "b"));
    }

    #[test]
    fn taps_have_readable_names_where_they_fit_and_short_ones_always() {
        assert_eq!(tap_name("k80", "master0"), "k80-master0");
        let long = tap_name("bridge-of-mine1", "master0");
        assert!(long.len() <= 15, "{long}");
        assert_ne!(long, tap_name("bridge-of-mine1", "master1"));
    }
}

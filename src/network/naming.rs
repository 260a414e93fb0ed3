//! Names and numbers of a cluster's networks, derived so that they are always the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use kvmc_netns::MacAddr;
use sha2::{Digest, Sha256};

use crate::ids::{hex, mac};
use crate::state::ClusterDir;

/// The longest link name: `IFNAMSIZ` without the terminating zero.
const LONGEST: usize = 15;

/// The subnet's first address, which the host has as router, DHCP server and name server.
pub(crate) fn gateway(subnet: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

/// The name of the nft table for a bridge.
pub(crate) fn table(bridge: &str) -> String {
    let word = bridge.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("kvmc_{word}")
}

/// The name of the outer end of a fork's link. It is always the same for a cluster and state folder.
pub(crate) fn outlet(dir: &ClusterDir) -> String {
    let digest = Sha256::digest(dir.mark().as_bytes());
    format!("kvmf{}", hex(digest.get(..5).unwrap_or_default()))
}

/// The MAC address of a bridge. It is always the same for one bridge of a cluster and state folder, and differs for
/// all others.
pub(crate) fn bridge_mac(dir: &ClusterDir, bridge: &str) -> MacAddr {
    mac(&dir.mark(), &format!("bridge {bridge}"), 0)
}

/// A readable name if it fits into 15 bytes, else one from a hash. It has one hyphen more than a tap's name, so that
/// the two never collide.
pub(crate) fn bridge_name(main: &str, network: &str) -> String {
    let readable = format!("{main}--{network}");
    if readable.len() <= LONGEST {
        return readable;
    }
    let digest = Sha256::digest(readable.as_bytes());
    format!("kvmb{}", hex(digest.get(..5).unwrap_or_default()))
}

/// The name of a node's tap: readable if it fits into 15 bytes, else from a hash.
pub(crate) fn tap_name(bridge: &str, node: &str) -> String {
    let readable = format!("{bridge}-{node}");
    if readable.len() <= LONGEST {
        return readable;
    }
    let digest = Sha256::digest(readable.as_bytes());
    format!("kvmc{}", hex(digest.get(..5).unwrap_or_default()))
}

/// A unique local IPv6 prefix (RFC 4193). It is always the same for a cluster of this host, and differs for each of
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
    // A length of 64 is always valid; the compiler needs the other arm.
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
    fn bridge_names_are_readable_where_they_fit_and_always_short() {
        assert_eq!(bridge_name("k80", "storage"), "k80--storage");
        let long = bridge_name("bridge-of-mine1", "storage");
        assert!(long.len() <= LONGEST, "{long}");
        assert_ne!(long, bridge_name("bridge-of-mine1", "b"));
    }

    #[test]
    fn tap_names_are_readable_where_they_fit_and_always_short() {
        assert_eq!(tap_name("k80", "master0"), "k80-master0");
        let long = tap_name("bridge-of-mine1", "master0");
        assert!(long.len() <= 15, "{long}");
        assert_ne!(long, tap_name("bridge-of-mine1", "master1"));
    }
}

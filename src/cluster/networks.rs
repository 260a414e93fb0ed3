//! The networks beside the main one, and the IPv6 prefixes of all: names and numbers, without effects.

use std::net::Ipv6Addr;

use anyhow::{Result, bail};
use ipnetwork::{IpNetwork, Ipv6Network};
use kvmc_netns::{Links, sysctl};
use sha2::{Digest, Sha256};

use super::network::{bridge_mac, gateway, table};
use crate::ids::hex;
use crate::spec::{ClusterSpec, NetworkSpec};
use crate::state::{ClusterDir, NetworkRecord};

/// The longest name that a link can have.
const LONGEST: usize = 15;

/// The main network and those beside it, which are like it in all that they have no word of their own in.
pub(super) fn beside(
    main: NetworkRecord,
    spec: &ClusterSpec,
    dir: &ClusterDir,
) -> Vec<NetworkRecord> {
    let others: Vec<_> = (1..)
        .zip(&spec.networks)
        .map(|(number, network)| one(&main, spec, dir, network, number))
        .collect();
    std::iter::once(main).chain(others).collect()
}

fn one(
    main: &NetworkRecord,
    spec: &ClusterSpec,
    dir: &ClusterDir,
    network: &NetworkSpec,
    number: u16,
) -> NetworkRecord {
    let given = network.bridge.clone();
    let bridge = given.unwrap_or_else(|| bridge_name(&spec.bridge, &network.name));
    NetworkRecord {
        name: network.name.clone(),
        mac: bridge_mac(dir, &bridge),
        subnet: network.subnet,
        gateway: gateway(network.subnet),
        mtu: main.mtu,
        isolated: network.isolated,
        prefix6: network.ipv6.then(|| prefix6(&spec.name, number)),
        table: table(&bridge),
        dns: Vec::new(),
        forwarding_was_off: false,
        namespace: main.namespace,
        resolved: false,
        boot_id: main.boot_id.clone(),
        bridge,
    }
}

/// Readable where 15 bytes allow, else from a hash. A hyphen more than a tap has, so that no network's name
/// makes a tap's of it.
fn bridge_name(main: &str, network: &str) -> String {
    let readable = format!("{main}--{network}");
    if readable.len() <= LONGEST {
        return readable;
    }
    let digest = Sha256::digest(readable.as_bytes());
    format!("kvmb{}", hex(digest.get(..5).unwrap_or_default()))
}

/// A unique local prefix (RFC 4193): the same each time for a cluster of this host, another for each of
/// its networks.
pub(super) fn prefix6(cluster: &str, number: u16) -> Ipv6Network {
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

/// Refuses IPv6 where the host has none, and a prefix that is another's.
///
/// # Errors
/// What is in the way, with what to do.
pub(super) async fn check_ipv6(network: &NetworkRecord, links: &Links) -> Result<()> {
    let Some(prefix) = network.prefix6 else {
        return Ok(());
    };
    let name = &network.name;
    if sysctl::read("net.ipv6.conf.all.forwarding")?.is_none() {
        bail!(
            "ipv6: this host's kernel has IPv6 switched off (ipv6.disable=1), and network {name} wants it; leave `ipv6` out, or boot the host with IPv6"
        );
    }
    let addresses = links.addresses().await?;
    let routes = links.routes().await?;
    let taken = addresses
        .iter()
        .map(|a| a.network)
        .chain(routes.iter().map(|r| r.destination))
        .find(|n| matches!(n, IpNetwork::V6(n) if n.prefix() >= 8 && n.overlaps(prefix)));
    match taken {
        None => Ok(()),
        Some(taken) => bail!(
            "ipv6: {prefix} of network {name} overlaps {taken} of this host; use another --cluster name, of which the prefix is made"
        ),
    }
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
}

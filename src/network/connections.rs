//! The connections of a cluster's nodes, as the host's firewall and NAT know them.

use std::net::IpAddr;

use anyhow::{Context, Result};
use kvmc_netns::conntrack;
use kvmc_netns::outside::run_outside;

use crate::state::{ClusterRecord, Fork};

/// Forgets all connections of a cluster's nodes, for nodes that know nothing of them. Those between nodes of one network do
/// not pass the host. Returns their number.
///
/// # Errors
/// Fails with the kernel's answer.
pub(crate) fn forget(record: &ClusterRecord) -> Result<usize> {
    let has_ipv6 = record.networks().any(|n| n.prefix6.is_some());
    let here = conntrack::forget(has_ipv6, |address| is_of_nodes(record, address));
    let here = here.context("the nodes' connections of before are still known to the host")?;
    let Some(fork) = record.host.fork.as_ref() else {
        return Ok(here);
    };
    let has_ipv6 = fork.transit6.is_some();
    let outside = run_outside(|| conntrack::forget(has_ipv6, |address| is_of_fork(fork, address)))?;
    let outside =
        outside.context("the fork's connections of before are still known to the host")?;
    Ok(here.saturating_add(outside))
}

/// Whether an address is one that only nodes send from: one of the cluster's networks but the host's, or a floating one.
fn is_of_nodes(record: &ClusterRecord, address: IpAddr) -> bool {
    let is_floating = |address| record.spec.lan.shared().any(|r| r.contains(address));
    match address {
        IpAddr::V4(address) => {
            let mut networks = record.networks();
            is_floating(address)
                || networks.any(|n| n.subnet.contains(address) && n.gateway != address)
        }
        IpAddr::V6(address) => record.networks().any(|n| {
            n.prefix6.is_some_and(|prefix| prefix.contains(address))
                && n.gateway6() != Some(address)
        }),
    }
}

/// Whether an address is that of the fork's end of its link, by which the host knows all of its nodes.
fn is_of_fork(fork: &Fork, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => fork.ends().is_some_and(|[_, inner]| inner == address),
        IpAddr::V6(address) => fork.ends6().is_some_and(|[_, inner]| inner == address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nodes_are_those_of_the_networks_without_the_hosts() {
        let mut record = crate::samples::record();
        record.networks.main_mut().prefix6 = Some("fd00:1:2:3::/64".parse().unwrap());
        let floating = "198.51.100.7-198.51.100.9".to_owned();
        record.spec.lan.floating = vec![floating.try_into().unwrap()];
        let gateway = record.main().gateway;
        let node = record.nodes[0].address();
        let shown = |address: &str| is_of_nodes(&record, address.parse().unwrap());
        assert!(shown(&node.to_string()));
        assert!(!shown(&gateway.to_string()));
        for (address, expected) in [
            ("fd00:1:2:3::8", true),
            ("fd00:1:2:3::1", false),
            ("fd00:1:2:4::8", false),
            ("198.51.100.8", true),
            ("198.51.100.10", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(shown(address), expected, "{address}");
        }
    }

    #[test]
    fn outside_a_fork_is_its_end_of_the_link() {
        let fork = Fork {
            of: "k80".to_owned(),
            snapshot: "a".to_owned(),
            outside: 7,
            link: "kvmc-01234567".to_owned(),
            transit: Some("10.80.0.4/30".parse().unwrap()),
            transit6: Some("fd00:1::/64".parse().unwrap()),
        };
        let shown = |address: &str| is_of_fork(&fork, address.parse().unwrap());
        assert!(shown("10.80.0.6") && shown("fd00:1::2"));
        assert!(!shown("10.80.0.5") && !shown("fd00:1::1") && !shown("10.80.0.7"));
    }
}

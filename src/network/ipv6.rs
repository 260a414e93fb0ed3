//! Checks whether a network can have IPv6 on this host.

use anyhow::Result;
use ipnetwork::IpNetwork;
use kvmc_netns::{Links, sysctl};

use crate::hint::bail_with_hint;
use crate::state::NetworkRecord;

/// Refuses IPv6 on a host without it, and a prefix that is in use.
///
/// # Errors
/// Fails with what is in the way and its cure.
pub(crate) async fn check(network: &NetworkRecord, links: &Links) -> Result<()> {
    let Some(prefix) = network.prefix6 else {
        return Ok(());
    };
    let name = &network.name;
    if sysctl::read("net.ipv6.conf.all.forwarding")?.is_none() {
        bail_with_hint!(
            "leave out `ipv6`, or boot the host with IPv6",
            "ipv6: network {name} needs IPv6, which this host's kernel has switched off (ipv6.disable=1)"
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
        Some(taken) => bail_with_hint!(
            "choose another --cluster name, which the prefix is derived from",
            "ipv6: {prefix} of network {name} overlaps {taken} of this host"
        ),
    }
}

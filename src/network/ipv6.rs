//! Whether a network can have IPv6 on this host.

use anyhow::{Result, bail};
use ipnetwork::IpNetwork;
use kvmc_netns::{Links, sysctl};

use crate::state::NetworkRecord;

/// Refuses IPv6 where the host has none, and a prefix that is another's.
///
/// # Errors
/// What is in the way, with what to do.
pub(crate) async fn check(network: &NetworkRecord, links: &Links) -> Result<()> {
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

//! Which addresses of nodes that are to be made somebody on the bridge has.

use std::net::Ipv4Addr;

use anyhow::Result;
use kvmc_netns::Links;

use crate::state::{ClusterRecord, NodeRecord};

/// Asks by ARP for the addresses of the nodes in the record that are not among `there`, on the bridges that are up.
///
/// # Errors
/// When the host's links cannot be read.
pub(crate) async fn used_of_new(
    record: &ClusterRecord,
    there: &[NodeRecord],
    links: &Links,
) -> Result<Vec<Ipv4Addr>> {
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let is_new = |node: &&NodeRecord| there.iter().all(|n| n.name != node.name);
    let mut wanted = Vec::new();
    for network in record.networks() {
        let link = links.find(&network.bridge).await?;
        if !link.is_some_and(|l| l.up && l.mac == Some(network.mac)) {
            continue;
        }
        let nics = record.nodes.iter().filter(is_new);
        let nics = nics.filter_map(|node| node.nic(&network.name));
        wanted.extend(nics.map(|nic| (nic.address, network.bridge.clone())));
    }
    let addresses = wanted.iter().map(|(address, _)| *address).collect();
    let heard = links.who_has(addresses).await?.answers();
    let is_heard = |(address, bridge): &(Ipv4Addr, String)| {
        let mut all = heard.iter();
        all.any(|h| h.address == *address && h.link == *bridge)
    };
    wanted.retain(is_heard);
    Ok(wanted.into_iter().map(|(address, _)| address).collect())
}

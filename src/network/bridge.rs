//! Checks, makes and removes a network's bridge.

use anyhow::Result;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use kvmc_netns::{BridgeSpec, Links};

use super::ranges;
use crate::failpoint::failpoint;
use crate::state::{ClusterDir, NetworkRecord};

/// Whether the bridge exists and is up, with the recorded MTU and addresses.
///
/// # Errors
/// Fails if the links cannot be read.
pub(super) async fn is_as_recorded(network: &NetworkRecord, links: &Links) -> Result<bool> {
    Ok(match links.find(&network.bridge).await? {
        Some(link) => {
            let address = Ipv4Network::new(network.gateway, network.subnet.prefix())?;
            let wanted = [Some(address.into()), address6(network).map(IpNetwork::V6)];
            let there = links.addresses().await?;
            let has = |wanted: &IpNetwork| {
                let mine = there.iter().filter(|a| a.link == link.index);
                mine.into_iter().any(|a| a.network == *wanted)
            };
            link.up && link.mtu == network.mtu && wanted.iter().flatten().all(has)
        }
        None => false,
    })
}

/// Makes a bridge without addresses and marks it as this cluster's. The keeper adds the addresses once it has port 53 of
/// each.
pub(crate) async fn prepare(
    network: &NetworkRecord,
    dir: &ClusterDir,
    links: &Links,
) -> Result<()> {
    links.prepare_bridge(&wanted(network)?).await?;
    links.set_alias(&network.bridge, &dir.mark()).await?;
    Ok(())
}

/// Makes a bridge with its addresses or corrects it, and marks it as this cluster's.
pub(crate) async fn make(network: &NetworkRecord, dir: &ClusterDir, links: &Links) -> Result<()> {
    links.ensure_bridge(&wanted(network)?).await?;
    links.set_alias(&network.bridge, &dir.mark()).await?;
    ranges::check_alone(network, links).await
}

fn wanted(network: &NetworkRecord) -> Result<BridgeSpec> {
    Ok(BridgeSpec {
        name: network.bridge.clone(),
        mac: network.mac,
        mtu: network.mtu,
        lldp: network.lldp,
        address: Ipv4Network::new(network.gateway, network.subnet.prefix())?,
        address6: address6(network),
    })
}

/// The host's IPv6 address on the bridge, with the prefix length.
fn address6(network: &NetworkRecord) -> Option<Ipv6Network> {
    Ipv6Network::new(network.gateway6()?, network.prefix6?.prefix()).ok()
}

/// Removes the bridge if its Ethernet address is the recorded one.
pub(crate) async fn remove(network: &NetworkRecord, links: &Links) -> Result<()> {
    match links.find(&network.bridge).await? {
        Some(link) if link.mac == Some(network.mac) => {
            links.delete(&network.bridge).await?;
            failpoint!("net.bridge");
            Ok(())
        }
        _ => Ok(()),
    }
}

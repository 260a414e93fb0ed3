//! Checks, makes and removes a network's bridge.

use anyhow::Result;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use kvmc_netns::{BridgeSpec, Change, Links};

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

/// Corrects a bridge that another program changed, and its routes. Returns what was wrong; `None` if the bridge is gone.
pub(crate) async fn restore(network: &NetworkRecord, links: &Links) -> Result<Option<Vec<String>>> {
    let spec = wanted(network)?;
    let Some(change) = links.restore_bridge(&spec).await? else {
        return Ok(None);
    };
    let mut restored = Vec::new();
    if change != Change::Unchanged {
        restored.push(format!("the bridge {}", network.bridge));
    }
    let Some(link) = links.find(&network.bridge).await? else {
        return Ok(None);
    };
    let addresses = [
        Some(IpNetwork::V4(spec.address)),
        spec.address6.map(IpNetwork::V6),
    ];
    for address in addresses.into_iter().flatten() {
        if links.ensure_route(link.index, address).await? != Change::Unchanged {
            let range = IpNetwork::new(address.network(), address.prefix())?;
            restored.push(format!("the route {range} by {}", network.bridge));
        }
    }
    Ok(Some(restored))
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

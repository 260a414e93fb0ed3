//! The cluster's network on the host: bridge, forwarding, NAT; seen, made and taken away.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use kvmc_netns::{BridgeSpec, Links, MacAddr, firewall};

use super::firewalls::{self, FirewallSeen};
use super::forward;
use super::forwarding::{self, Family};
use super::{host_names, networks, ranges};
use crate::failpoint::failpoint;
use crate::ids::mac;
use crate::spec::{ClusterSpec, MAIN};
use crate::state::{ClusterDir, ClusterRecord, NetworkRecord};

/// Ethernet's, where no uplink says otherwise.
const DEFAULT_MTU: u32 = 1500;

/// The first address is the host's: router, DHCP and name server.
pub(crate) fn gateway(subnet: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

/// What the networks of a new cluster will be, the main one first.
///
/// # Errors
/// When the host's links cannot be read.
pub(super) async fn design(
    spec: &ClusterSpec,
    dir: &ClusterDir,
    links: &Links,
) -> Result<Vec<NetworkRecord>> {
    let uplink = links.uplink().await?;
    let main = NetworkRecord {
        name: MAIN.to_owned(),
        bridge: spec.bridge.clone(),
        mac: bridge_mac(dir, &spec.bridge),
        subnet: spec.subnet,
        gateway: gateway(spec.subnet),
        mtu: uplink.map_or(DEFAULT_MTU, |l| l.mtu.clamp(576, DEFAULT_MTU)),
        isolated: spec.isolated,
        prefix6: spec.ipv6.then(|| networks::prefix6(&spec.name, 0)),
        table: table(&spec.bridge),
        dns: vec![gateway(spec.subnet)],
        forwarding_was_off: false,
        namespace: namespace()?,
        resolved: false,
        boot_id: crate::ids::boot_id()?,
    };
    Ok(networks::beside(main, spec, dir))
}

/// The name of a bridge's nft table.
pub(super) fn table(bridge: &str) -> String {
    let word = bridge.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("kvmc_{word}")
}

/// The same each time for a bridge of a cluster of a state folder, and another for any other.
pub(super) fn bridge_mac(dir: &ClusterDir, bridge: &str) -> MacAddr {
    mac(&dir.mark(), &format!("bridge {bridge}"), 0)
}

/// Inode of the network namespace that this process is in.
pub(crate) fn namespace() -> Result<u64> {
    Ok(fs_err::metadata("/proc/self/ns/net")?.ino())
}

/// What of the network is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NetworkSeen {
    pub(super) forwarding: bool,
    /// Also true when no network has IPv6.
    pub(super) forwarding6: bool,
    pub(super) bridges: BTreeSet<String>,
    pub(super) tables: BTreeSet<String>,
    /// What others' firewalls still need.
    pub(super) accepts: Vec<firewall::Accept>,
    pub(super) obstacles: Vec<firewall::Obstacle>,
}

pub(super) async fn look(record: &ClusterRecord, links: &Links) -> Result<NetworkSeen> {
    let firewalls = firewalls::look(record, &firewalls::site(links).await?)?;
    look_beside(record, links, firewalls).await
}

/// The same where the firewalls were looked at already, which is what takes the time.
pub(super) async fn look_beside(
    record: &ClusterRecord,
    links: &Links,
    firewalls: FirewallSeen,
) -> Result<NetworkSeen> {
    let mut seen = NetworkSeen {
        forwarding: forwarding::is_on(Family::V4)?,
        forwarding6: !forwarding::has_ipv6(record) || forwarding::is_on(Family::V6)?,
        ..NetworkSeen::default()
    };
    seen.accepts = firewalls.accepts;
    seen.obstacles = firewalls.obstacles;
    for network in record.networks() {
        if bridge_is_there(network, links).await? {
            seen.bridges.insert(network.bridge.clone());
        }
        if !firewalls.tables.contains(&network.table) {
            seen.tables.insert(network.table.clone());
        }
    }
    Ok(seen)
}

async fn bridge_is_there(network: &NetworkRecord, links: &Links) -> Result<bool> {
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

/// Makes a bridge, or sets it right, and marks whose it is.
pub(super) async fn create_bridge(
    network: &NetworkRecord,
    dir: &ClusterDir,
    links: &Links,
) -> Result<()> {
    let address = Ipv4Network::new(network.gateway, network.subnet.prefix())?;
    links
        .ensure_bridge(&BridgeSpec {
            name: network.bridge.clone(),
            mac: network.mac,
            mtu: network.mtu,
            address,
            address6: address6(network),
        })
        .await?;
    links.set_alias(&network.bridge, &dir.mark()).await?;
    ranges::check_alone(network, links).await
}

/// The host's IPv6 address on the bridge, with the prefix's length.
fn address6(network: &NetworkRecord) -> Option<Ipv6Network> {
    Ipv6Network::new(network.gateway6()?, network.prefix6?.prefix()).ok()
}

/// The nft table of one of the cluster's networks.
pub(crate) fn rules(record: &ClusterRecord, network: &NetworkRecord) -> firewall::Table {
    firewall::Table {
        name: network.table.clone(),
        mark: firewall::mark(&record.spec.name),
        bridge: network.bridge.clone(),
        subnet: network.subnet,
        gateway: network.gateway,
        gateway6: network.gateway6(),
        prefix6: network.prefix6,
        isolated: network.isolated,
        host_ports: record.spec.host_ports.clone(),
        forwards: record
            .forwards
            .iter()
            .filter(|_| network.is_main())
            .filter_map(|f| forward::rule(record, f))
            .collect(),
    }
}

/// Takes the network away; what is gone already is done. Goes on past errors and returns them.
pub(super) async fn remove(record: &ClusterRecord, links: &Links) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    errors.extend(host_names::forget(&record.network).err());
    for network in record.networks() {
        match links.find(&network.bridge).await {
            // Somebody else has taken the name since this cluster was stopped, and the rules are theirs.
            Ok(Some(link)) if link.mac != Some(network.mac) => continue,
            Ok(_) => {}
            Err(e) => errors.push(e.into()),
        }
        if let Err(e) = remove_rules(&rules(record, network)) {
            errors.push(e);
        }
        if let Err(e) = remove_bridge(network, links).await {
            errors.push(e.context(format!("failed to remove the bridge {}", network.bridge)));
        }
    }
    errors
}

fn remove_rules(rules: &firewall::Table) -> Result<()> {
    rules.remove().context("failed to remove the NAT")?;
    failpoint!("net.nat");
    Ok(())
}

/// Removes a bridge that was found by its mark, and its rules. Goes on past errors and returns them.
pub(super) async fn remove_found(bridge: &str, links: &Links) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    let rules = firewall::Table::remove_named(&table(bridge));
    errors.extend(rules.err().map(Into::into));
    errors.extend(links.delete(bridge).await.err().map(Into::into));
    errors
}

/// Removes the bridge if it is the one that was made: by its address on the wire.
pub(super) async fn remove_bridge(network: &NetworkRecord, links: &Links) -> Result<()> {
    match links.find(&network.bridge).await? {
        Some(link) if link.mac == Some(network.mac) => {
            links.delete(&network.bridge).await?;
            failpoint!("net.bridge");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses to work on a cluster from another network namespace than it is in.
///
/// # Errors
/// That it is so.
pub(crate) fn check_namespace(record: &ClusterRecord) -> Result<()> {
    if record.phase == crate::state::Phase::Stopped || record.network.namespace == namespace()? {
        return Ok(());
    }
    // After a host reboot nothing of it is anywhere, and the number means nothing any more.
    bail!(
        "cluster `{}` runs in another network namespace; run kvmc there (ip netns exec, nsenter --net)",
        record.spec.name
    )
}

/// The name of a node's tap: readable where 15 bytes allow, else from a hash.
pub(super) fn tap_name(bridge: &str, node: &str) -> String {
    let readable = format!("{bridge}-{node}");
    if readable.len() <= 15 {
        return readable;
    }
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(readable.as_bytes());
    format!(
        "kvmc{}",
        crate::ids::hex(digest.get(..5).unwrap_or_default())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_have_readable_names_where_they_fit_and_short_ones_always() {
        assert_eq!(tap_name("k80", "master0"), "k80-master0");
        let long = tap_name("bridge-of-mine1", "master0");
        assert!(long.len() <= 15, "{long}");
        assert_ne!(long, tap_name("bridge-of-mine1", "master1"));
    }
}

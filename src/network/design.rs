//! Designs the records of a cluster's networks from its specification.

use anyhow::Result;
use kvmc_netns::Links;

use super::naming::{bridge_mac, bridge_name, gateway, prefix6, table};
use crate::spec::{ClusterSpec, MAIN, NetworkSpec};
use crate::state::{ClusterDir, NetworkRecord};

/// Ethernet's MTU in bytes, used if there is no uplink.
const DEFAULT_MTU: u32 = 1500;

/// The networks of a new cluster, the main one first.
///
/// # Errors
/// Fails if the host's links cannot be read.
pub(crate) async fn design(
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
        mtu: spec
            .lan
            .mtu
            .unwrap_or_else(|| uplink.map_or(DEFAULT_MTU, |l| l.mtu.clamp(576, DEFAULT_MTU))),
        lldp: spec.lan.lldp,
        isolated: spec.isolated,
        prefix6: spec.ipv6.then(|| prefix6(&spec.name, 0)),
        table: table(&spec.bridge),
        dns: vec![gateway(spec.subnet)],
    };
    Ok(all_networks(main, spec, dir))
}

/// The main network and the further ones, which take the main network's values for all settings that they lack.
pub(crate) fn all_networks(
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
        lldp: main.lldp,
        isolated: network.isolated,
        prefix6: network.ipv6.then(|| prefix6(&spec.name, number)),
        table: table(&bridge),
        dns: Vec::new(),
        bridge,
    }
}

//! A network's own nft table: its content, and its removal.

use anyhow::{Context, Result};
use kvmc_netns::firewall;

use crate::failpoint::failpoint;
use crate::spec::Forward;
use crate::state::{ClusterRecord, NetworkRecord, NodeRecord};

/// The nft table of one of the cluster's networks.
pub(crate) fn table(record: &ClusterRecord, network: &NetworkRecord) -> firewall::Table {
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
        reach_from: match network.is_main() {
            true => record.spec.lan.reach_from.clone(),
            false => Vec::new(),
        },
        forwards: record
            .forwards
            .iter()
            .zip(0..)
            .filter(|_| network.is_main())
            .filter_map(|(f, number)| forward(record, f, number))
            .collect(),
        ports: match record.spec.lan.spoof {
            true => Vec::new(),
            false => record
                .nodes
                .iter()
                .filter_map(|n| port(network, n))
                .collect(),
        },
        floating: record
            .spec
            .lan
            .shared()
            .map(|r| (r.first, r.last))
            .collect(),
    }
}

/// A node's port of a network's bridge, with what it may send from there.
fn port(network: &NetworkRecord, node: &NodeRecord) -> Option<firewall::Port> {
    let nic = node.nic(&network.name)?;
    Some(firewall::Port {
        tap: nic.tap.clone(),
        mac: nic.mac,
        address: nic.address,
        address6: network.address6(nic.mac),
    })
}

/// A forward as an entry of the nft table. Where the cluster is a fork, another table leads to the port from outside.
fn forward(record: &ClusterRecord, forward: &Forward, number: u16) -> Option<firewall::Forward> {
    let node = record.node(&forward.node).ok()?;
    let is_fork = record.host.fork.is_some();
    Some(firewall::Forward {
        protocol: forward.protocol,
        address: forward.address.filter(|_| !is_fork),
        port: match is_fork {
            true => inner_port(number),
            false => forward.port,
        },
        to: node.address(),
        to6: node
            .nics
            .first()
            .and_then(|nic| record.main().address6(nic.mac)),
        to_port: forward.node_port,
    })
}

/// The port of a fork's end of its link that leads to the target of a forward, by the forward's place in the record.
pub(super) const fn inner_port(number: u16) -> u16 {
    1024_u16.saturating_add(number)
}

/// Removes a table, and accepts that it is removed already.
///
/// # Errors
/// Fails with nft's words.
pub(crate) fn remove(rules: &firewall::Table) -> Result<()> {
    rules.remove().context("cannot remove the NAT rules")?;
    failpoint!("net.nat");
    Ok(())
}

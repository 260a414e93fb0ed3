//! A node's NICs: their taps, and what the guest is told about them.

use std::os::fd::OwnedFd;

use anyhow::Result;
use kvmc_netns::{Links, MacAddr, SpareTap, TapSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::hex;
use crate::state::{ClusterRecord, NetworkRecord, NicRecord, NodeRecord};

/// Properties of a NIC that a frozen machine shares with every node that wakes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NicKind {
    /// The guest forms IPv6 addresses on it.
    pub(crate) ipv6: bool,
}

impl NicKind {
    /// The NICs of a node in these networks.
    pub(crate) fn of<'a>(networks: impl Iterator<Item = &'a NetworkRecord>) -> Vec<Self> {
        networks
            .map(|n| Self {
                ipv6: n.prefix6.is_some(),
            })
            .collect()
    }

    /// One NIC without IPv6, as all nodes had in older versions.
    pub(crate) fn one() -> Vec<Self> {
        vec![Self { ipv6: false }]
    }
}

/// A NIC with a tap.
#[derive(Debug)]
pub(crate) struct ConnectedNic {
    pub(crate) tap: OwnedFd,
    pub(crate) mac: MacAddr,
}

/// Makes the taps of a node's NICs, each a port of its network's bridge. A tap vanishes with the returned value and
/// with the QEMU that it is passed to.
///
/// # Errors
/// Fails if a bridge is missing, if a name is taken, or if the kernel refuses.
pub(crate) async fn connect(
    record: &ClusterRecord,
    node: &NodeRecord,
    links: &Links,
) -> Result<Vec<ConnectedNic>> {
    let mut nics = Vec::new();
    for (network, nic) in record.nics(node) {
        nics.push(ConnectedNic {
            tap: links.create_tap(&tap(network, nic)).await?,
            mac: nic.mac,
        });
    }
    Ok(nics)
}

/// Makes taps for a node's NICs that are ports of no bridge, until they get the places of those that are.
///
/// # Errors
/// Fails if a name is taken, or if the kernel refuses.
pub(crate) async fn connect_spare(
    record: &ClusterRecord,
    node: &NodeRecord,
    links: &Links,
) -> Result<Vec<ConnectedNic>> {
    let mut nics = Vec::new();
    for (spare, (_, nic)) in spare_taps(record, node).iter().zip(record.nics(node)) {
        nics.push(ConnectedNic {
            tap: links.create_spare_tap(&spare.name).await?,
            mac: nic.mac,
        });
    }
    Ok(nics)
}

/// The taps that wait to take the places of a node's.
pub(crate) fn spare_taps(record: &ClusterRecord, node: &NodeRecord) -> Vec<SpareTap> {
    let nics = record.nics(node);
    nics.map(|(network, nic)| SpareTap {
        name: spare_name("spare", nic),
        takes_place_of: tap(network, nic),
        old_name: spare_name("old", nic),
    })
    .collect()
}

/// A name that no tap of a node has, in 14 bytes.
fn spare_name(what: &str, nic: &NicRecord) -> String {
    let digest = Sha256::digest(format!("{what} {}", nic.tap).as_bytes());
    format!("kvms{}", hex(digest.get(..5).unwrap_or_default()))
}

/// Checks that each of a node's NICs is still a port of its network's bridge. A node with a removed port would run
/// without a network, and no other error would say so.
///
/// # Errors
/// Fails at the first tap that is missing or was changed.
pub(crate) async fn check_connected(
    networks: &[NetworkRecord],
    node: &NodeRecord,
    links: &Links,
) -> Result<()> {
    for network in networks {
        if let Some(nic) = node.nic(&network.name) {
            links.check_tap(&tap(network, nic)).await?;
        }
    }
    Ok(())
}

/// A NIC's tap.
pub(crate) fn tap(network: &NetworkRecord, nic: &NicRecord) -> TapSpec {
    TapSpec {
        name: nic.tap.clone(),
        bridge: network.bridge.clone(),
        mtu: network.mtu,
    }
}

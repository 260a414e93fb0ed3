//! A node's NICs: their other ends, and what the guest is told of them.

use std::os::fd::OwnedFd;

use anyhow::Result;
use kvmc_netns::{Links, MacAddr, TapSpec};
use serde::{Deserialize, Serialize};

use crate::state::{ClusterRecord, NetworkRecord, NicRecord, NodeRecord};

/// What of a NIC is the same in a frozen machine and in every node that wakes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NicKind {
    /// The guest makes itself IPv6 addresses on it.
    pub(crate) ipv6: bool,
}

impl NicKind {
    /// The NICs of a node that is in these networks.
    pub(crate) fn of<'a>(networks: impl Iterator<Item = &'a NetworkRecord>) -> Vec<Self> {
        networks
            .map(|n| Self {
                ipv6: n.prefix6.is_some(),
            })
            .collect()
    }

    /// One NIC without IPv6, as all nodes had before there were others.
    pub(crate) fn one() -> Vec<Self> {
        vec![Self { ipv6: false }]
    }
}

/// A NIC that is connected.
#[derive(Debug)]
pub(crate) struct ConnectedNic {
    pub(crate) tap: OwnedFd,
    pub(crate) mac: MacAddr,
}

/// Makes the taps of a node's NICs, each a port of its network's bridge. They vanish with what is
/// returned, and with the QEMU that it is passed to.
///
/// # Errors
/// A bridge that is gone, a name that is taken, or the system's.
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

/// Whether each of a node's NICs is a port of its network's bridge still. What somebody took out since would
/// run without a network, and nothing else would say so.
///
/// # Errors
/// The first tap that is gone, or is not as it was made.
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

fn tap(network: &NetworkRecord, nic: &NicRecord) -> TapSpec {
    TapSpec {
        name: nic.tap.clone(),
        bridge: network.bridge.clone(),
        mtu: network.mtu,
    }
}

//! A node's cards: their other ends, and what the guest is told of them.

use std::os::fd::OwnedFd;

use anyhow::Result;
use kvmc_netns::{Links, MacAddr, TapSpec};
use serde::{Deserialize, Serialize};

use crate::state::{ClusterRecord, NetworkRecord, NodeRecord};

/// What of a card is the same in a frozen machine and in every node that wakes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CardKind {
    /// The guest makes itself IPv6 addresses on it.
    pub(crate) ipv6: bool,
}

impl CardKind {
    /// The cards of a node that is in these networks.
    pub(crate) fn of<'a>(networks: impl Iterator<Item = &'a NetworkRecord>) -> Vec<Self> {
        networks
            .map(|n| Self {
                ipv6: n.prefix6.is_some(),
            })
            .collect()
    }

    /// One card without IPv6, as all nodes had before there were others.
    pub(crate) fn one() -> Vec<Self> {
        vec![Self { ipv6: false }]
    }
}

/// A card that is connected.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) tap: OwnedFd,
    pub(crate) mac: MacAddr,
}

/// Makes the taps of a node's cards, each a port of its network's bridge. They vanish with what is
/// returned, and with the QEMU that it is passed to.
///
/// # Errors
/// A bridge that is gone, a name that is taken, or the system's.
pub(crate) async fn connect(
    record: &ClusterRecord,
    node: &NodeRecord,
    links: &Links,
) -> Result<Vec<Card>> {
    let mut cards = Vec::new();
    for (network, nic) in record.nics(node) {
        cards.push(Card {
            tap: links.create_tap(&tap(network, nic.tap)).await?,
            mac: nic.mac,
        });
    }
    Ok(cards)
}

/// Whether each of a node's cards is a port of its network's bridge still. What somebody took out since would
/// run without a network, and nothing else would say so.
///
/// # Errors
/// The first tap that is gone, or is not as it was made.
pub(crate) async fn check_connected(
    networks: &[NetworkRecord],
    node: &NodeRecord,
    links: &Links,
) -> Result<()> {
    for (network, nic) in networks.iter().zip(node.nics()) {
        links.check_tap(&tap(network, nic.tap)).await?;
    }
    Ok(())
}

fn tap(network: &NetworkRecord, name: String) -> TapSpec {
    TapSpec {
        name,
        bridge: network.bridge.clone(),
        mtu: network.mtu,
    }
}

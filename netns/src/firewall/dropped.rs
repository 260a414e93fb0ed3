//! Finds the packets of a cluster that the chains of one table drop. Pure.

use super::chains::{BaseChain, Chains};
use super::family::Family;
use super::host_network::HostNetwork;
use super::packet::Packet;
use super::specimens::specimens;
use super::table::Table;
use super::walk::{DropPoint, Fate};

/// A packet that a table drops.
#[derive(Clone, Debug)]
pub(super) struct Dropped<'a> {
    /// The chain that it entered by.
    pub(super) base: &'a BaseChain,
    pub(super) at: DropPoint,
    pub(super) packet: Packet,
}

/// Tests one specimen of each packet that the guests of `table` need.
pub(super) fn dropped<'a>(
    chains: &'a Chains,
    table: &Table,
    host: &HostNetwork,
) -> Vec<Dropped<'a>> {
    let packets: Vec<_> = specimens(table, host)
        .into_iter()
        .filter(|packet| meets(packet, chains, host))
        .collect();
    let mut all = Vec::new();
    for base in &chains.bases {
        for packet in packets.iter().filter(|p| p.hook == base.hook) {
            if let Fate::Dropped(at) = chains.fate(base, packet) {
                let packet = packet.clone();
                all.push(Dropped { base, at, packet });
            }
        }
    }
    all
}

/// Whether a packet passes through a table's chains at all.
fn meets(packet: &Packet, chains: &Chains, host: &HostNetwork) -> bool {
    let is_bridged = match packet.family() {
        Family::V4 => host.bridged,
        Family::V6 => host.bridged6,
    };
    let is_of_family = chains.family.is_none_or(|family| family == packet.family());
    is_of_family
        && if packet.between_guests {
            is_bridged || chains.of_bridges
        } else {
            !chains.of_bridges
        }
}

/// The kinds of these packets, each once.
pub(super) fn kinds(all: &[Dropped<'_>]) -> Vec<&'static str> {
    let mut kinds: Vec<_> = Vec::new();
    for dropped in all {
        if !kinds.contains(&dropped.packet.what) {
            kinds.push(dropped.packet.what);
        }
    }
    kinds
}

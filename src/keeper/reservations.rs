//! The addresses of nodes in a network, shared by the tasks that serve them and those that change them.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use kvmc_netns::dhcp;

use crate::state::ClusterRecord;

/// The addresses of nodes in a network. All clones share one table.
#[derive(Debug, Clone)]
pub(super) struct Reservations {
    number: usize,
    table: Arc<Mutex<dhcp::Table>>,
}

impl Reservations {
    pub(super) fn new(number: usize, table: dhcp::Table) -> Self {
        Self {
            number,
            table: Arc::new(Mutex::new(table)),
        }
    }

    pub(super) fn table(&self) -> Arc<Mutex<dhcp::Table>> {
        Arc::clone(&self.table)
    }

    /// Serves the addresses of this record from now on.
    pub(super) fn follow(&self, record: &ClusterRecord) {
        if let Ok(mut table) = self.table.lock() {
            table.set_reservations(reserved(record, self.number));
            table.exclude(excluded(record));
        }
    }

    /// Announces another MTU to the nodes.
    pub(super) fn set_mtu(&self, mtu: Option<u16>) {
        if let Ok(mut table) = self.table.lock() {
            table.set_mtu(mtu);
        }
    }
}

/// First and last address of the ranges that no other DHCP client gets: reserved ones, and those of removed nodes.
pub(super) fn excluded(record: &ClusterRecord) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let ranges = record.spec.lan.reserved.iter();
    let resting = record.resting.iter().flat_map(|r| &r.nics);
    let resting = resting.map(|nic| (nic.address, nic.address));
    let reserved = ranges.map(|range| (range.first, range.last));
    reserved.chain(resting).collect()
}

/// The addresses that the record gives to nodes in the network with this index.
pub(super) fn reserved(record: &ClusterRecord, number: usize) -> Vec<dhcp::Reservation> {
    let Some(network) = record.networks().nth(number) else {
        return Vec::new();
    };
    let nodes = record.nodes.iter();
    nodes
        .filter_map(|node| Some((node, node.nic(&network.name)?)))
        .map(|(node, nic)| dhcp::Reservation {
            mac: nic.mac,
            address: nic.address,
            hostname: node.name.clone(),
        })
        .collect()
}

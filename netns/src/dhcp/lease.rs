//! Leases and offers, indexed by address, by client and by their end.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::MacAddr;

/// An address that a client without a reservation has for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The client.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Seconds after the epoch.
    pub expires: u64,
    /// False while it is only offered.
    pub bound: bool,
}

impl Lease {
    /// The key that orders leases: offers first, then by their end.
    fn end(&self) -> (bool, u64, Ipv4Addr) {
        (self.bound, self.expires, self.address)
    }
}

/// A change of the bound lease of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseChange {
    Bound(Lease),
    Ended(Ipv4Addr),
}

/// At most one lease or offer for each client and for each address.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    by_address: HashMap<Ipv4Addr, Lease>,
    by_client: HashMap<MacAddr, Ipv4Addr>,
    by_end: BTreeSet<(bool, u64, Ipv4Addr)>,
}

impl Leases {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }

    pub(super) fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.by_address.get(&address)
    }

    pub(super) fn of(&self, mac: MacAddr) -> Option<&Lease> {
        self.at(*self.by_client.get(&mac)?)
    }

    /// Adds a lease in place of the one of its address. The client must have no lease of another address.
    pub(super) fn insert(&mut self, lease: Lease) {
        self.remove(lease.address);
        self.by_client.insert(lease.mac, lease.address);
        self.by_end.insert(lease.end());
        self.by_address.insert(lease.address, lease);
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) -> Option<Lease> {
        let lease = self.by_address.remove(&address)?;
        self.by_end.remove(&lease.end());
        self.by_client.remove(&lease.mac);
        Some(lease)
    }

    /// The offer that ends first.
    pub(super) fn first_offer(&self) -> Option<&Lease> {
        let (bound, _, address) = *self.by_end.first()?;
        (!bound).then(|| self.at(address))?
    }

    /// The bound lease that ends first.
    pub(super) fn first_bound(&self) -> Option<&Lease> {
        let bound = (true, 0, Ipv4Addr::UNSPECIFIED);
        let (_, _, address) = *self.by_end.range(bound..).next()?;
        self.at(address)
    }

    /// Checks that all indices agree.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.by_client.len(), self.by_address.len());
        assert_eq!(self.by_end.len(), self.by_address.len());
        for (address, lease) in &self.by_address {
            assert_eq!(lease.address, *address);
            assert_eq!(self.by_client[&lease.mac], *address);
            assert!(self.by_end.contains(&lease.end()));
        }
        self.by_address.len()
    }
}

//! Addresses that are not leased for a while, because a station without a lease uses them.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::MacAddr;

/// How long an address is in quarantine, in seconds.
pub(super) const QUARANTINE: u64 = 600;

#[derive(Clone, Copy, Debug)]
struct Quarantined {
    /// The station that uses the address, if it is known.
    by: Option<MacAddr>,
    /// Seconds after the epoch.
    until: u64,
}

/// The addresses in quarantine.
#[derive(Clone, Debug, Default)]
pub(super) struct Quarantine {
    addresses: HashMap<Ipv4Addr, Quarantined>,
    by_end: BTreeSet<(u64, Ipv4Addr)>,
}

impl Quarantine {
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Whether an address is in quarantine because this station uses it.
    pub(super) fn is_used_by(&self, address: Ipv4Addr, mac: MacAddr) -> bool {
        let quarantined = self.addresses.get(&address);
        quarantined.is_some_and(|q| q.by == Some(mac))
    }

    /// Adds an address, or renews its time. `now` is in seconds after the epoch.
    pub(super) fn insert(&mut self, address: Ipv4Addr, by: Option<MacAddr>, now: u64) {
        self.remove(address);
        let until = now + QUARANTINE;
        self.addresses.insert(address, Quarantined { by, until });
        self.by_end.insert((until, address));
    }

    pub(super) fn remove(&mut self, address: Ipv4Addr) {
        if let Some(quarantined) = self.addresses.remove(&address) {
            self.by_end.remove(&(quarantined.until, address));
        }
    }

    /// Removes one address whose time is over, and returns it.
    pub(super) fn pop_ended(&mut self, now: u64) -> Option<Ipv4Addr> {
        let (until, address) = *self.by_end.first()?;
        if until > now {
            return None;
        }
        self.remove(address);
        Some(address)
    }

    /// Checks that both indices agree.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.by_end.len(), self.addresses.len());
        self.addresses.len()
    }
}

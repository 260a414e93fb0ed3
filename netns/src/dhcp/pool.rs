//! The address pool: the addresses of the subnet that are neither reserved nor leased nor offered.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::config::Config;
use super::probes::Probes;
use super::quarantine::Quarantine;
use crate::MacAddr;

/// Free addresses, with the results of their probes, and those in quarantine.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    first: Ipv4Addr,
    last: Ipv4Addr,
    server: Ipv4Addr,
    /// First and last address of each range that nobody gets.
    excluded: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Whether addresses are probed before they are offered.
    probe: bool,
    free: BTreeSet<Ipv4Addr>,
    quarantine: Quarantine,
    probes: Probes,
}

impl Pool {
    /// All host addresses of the subnet except the server's.
    pub(super) fn new(config: &Config) -> Self {
        let first = u32::from(config.subnet.network()).saturating_add(1);
        let last = u32::from(config.subnet.broadcast()).saturating_sub(1);
        let all = (first..=last).map(Ipv4Addr::from);
        Self {
            first: first.into(),
            last: last.into(),
            server: config.server,
            excluded: Vec::new(),
            probe: config.probe,
            free: all.filter(|a| *a != config.server).collect(),
            quarantine: Quarantine::default(),
            probes: Probes::default(),
        }
    }

    /// How many addresses are free, and how many are in quarantine.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.free.len(), self.quarantine.len())
    }

    pub(super) fn is_free(&self, address: Ipv4Addr) -> bool {
        self.free.contains(&address)
    }

    /// Whether this client may take an address: it is free, or in quarantine because the client uses it.
    pub(super) fn is_available(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.is_free(address) || self.quarantine.is_used_by(address, mac)
    }

    /// Replaces the ranges that nobody gets; the addresses of those before are free again.
    pub(super) fn exclude(&mut self, ranges: Vec<(Ipv4Addr, Ipv4Addr)>) {
        let before = std::mem::replace(&mut self.excluded, ranges);
        for address in self.of_ranges(&before) {
            self.give_back(address);
        }
        for address in self.of_ranges(&self.excluded) {
            self.reserve(address);
        }
    }

    /// The addresses of the subnet that are in these ranges.
    fn of_ranges(&self, ranges: &[(Ipv4Addr, Ipv4Addr)]) -> Vec<Ipv4Addr> {
        let bounds = |(first, last): &(Ipv4Addr, Ipv4Addr)| {
            u32::from(*first).max(self.first.into())..=u32::from(*last).min(self.last.into())
        };
        ranges.iter().flat_map(bounds).map(Ipv4Addr::from).collect()
    }

    fn is_excluded(&self, address: Ipv4Addr) -> bool {
        let has = |(first, last): &(Ipv4Addr, Ipv4Addr)| (*first..=*last).contains(&address);
        self.excluded.iter().any(has)
    }

    /// Removes an address from the pool for a lease or an offer.
    pub(super) fn take(&mut self, address: Ipv4Addr) {
        self.quarantine.remove(address);
        self.free.remove(&address);
        self.probes.take(address);
    }

    /// Removes an address from the pool for a reservation.
    pub(super) fn reserve(&mut self, address: Ipv4Addr) {
        self.take(address);
        self.probes.forget(address);
    }

    /// Returns an address to the pool that no longer has a reservation, lease or offer.
    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        let is_of_subnet = (self.first..=self.last).contains(&address) && address != self.server;
        if is_of_subnet && !self.is_excluded(address) && !self.quarantine.contains(address) {
            self.free.insert(address);
            self.probes.give_back(address);
        }
    }

    /// Puts a free address into quarantine, or renews its time there. `by` is the station that uses it, if it is known.
    pub(super) fn isolate(&mut self, address: Ipv4Addr, by: Option<MacAddr>, now: u64) {
        if self.free.remove(&address) || self.quarantine.contains(address) {
            self.quarantine.insert(address, by, now);
            self.probes.forget(address);
        }
    }

    /// Frees the addresses whose quarantine is over.
    pub(super) fn end_quarantines(&mut self, now: u64) {
        while let Some(address) = self.quarantine.pop_ended(now) {
            self.give_back(address);
        }
    }

    /// A free address from the end of the subnet, since new nodes take theirs from the front. Prefers a probed one.
    pub(super) fn pick(&mut self, now: u64) -> Option<Ipv4Addr> {
        let probed = self.probe.then(|| self.probes.pick(now)).flatten();
        probed.or_else(|| self.free.last().copied())
    }

    /// Whether an address has to be probed before it is offered.
    pub(super) fn needs_probe(&self, address: Ipv4Addr, now: u64) -> bool {
        self.probe && !self.probes.is_unused(address, now)
    }

    /// Notes that the probe of an address is under way.
    pub(super) fn start_probe(&mut self, address: Ipv4Addr) {
        self.probes.start(address);
    }

    /// Whether the probe of an address is under way.
    pub(super) fn is_probing(&self, address: Ipv4Addr) -> bool {
        self.probes.is_pending(address)
    }

    /// Drops the result of a probe: it was for one client.
    pub(super) fn forget_probe(&mut self, address: Ipv4Addr) {
        self.probes.forget(address);
    }

    /// Addresses to probe now, ahead of their clients.
    pub(super) fn start_probes(&mut self, now: u64) -> Vec<Ipv4Addr> {
        if !self.probe {
            return Vec::new();
        }
        self.probes.start_due(self.free.iter().rev(), now)
    }

    /// Notes that nobody answered the probe of an address.
    pub(super) fn unanswered(&mut self, address: Ipv4Addr, now: u64) {
        let is_free = self.is_free(address);
        self.probes.unanswered(address, is_free, now);
    }

    /// Checks that the indices agree, and returns how many addresses there are.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        let both = self.free.iter().filter(|a| self.quarantine.contains(**a));
        assert_eq!(both.count(), 0);
        self.free.len() + self.quarantine.check()
    }
}

//! The state of a DHCP server: the address of each client.
//!
//! Every operation has an index, so its cost does not grow with the number of leases.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::config::{Config, Reservation};
use super::identifiers::Identifiers;
use super::lease::{Lease, LeaseChange, Leases};
use super::pool::Pool;
use super::quarantine::QUARANTINE;
use crate::MacAddr;

/// How long an offer keeps its address, in seconds.
const OFFER: u64 = 60;

/// The address for a client that looks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// This address, kept for the client for a minute.
    Ready(Ipv4Addr),
    /// This address, kept for the client, once a probe found it unused.
    Unprobed(Ipv4Addr),
    /// All addresses are taken.
    Full,
}

/// Reservations, leases and quarantined addresses; never more of them than the subnet has addresses.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) config: Config,
    pub(super) identifiers: Identifiers,
    reserved: HashMap<MacAddr, Reservation>,
    reserved_addresses: HashMap<Ipv4Addr, MacAddr>,
    leases: Leases,
    pool: Pool,
    /// Addresses that a station other than their client uses, and until when that is not reported again, in seconds
    /// after the epoch.
    conflicts: HashMap<Ipv4Addr, u64>,
    changed: BTreeSet<Ipv4Addr>,
}

impl Table {
    /// A table without leases.
    #[must_use]
    pub fn new(config: Config, reservations: Vec<Reservation>) -> Self {
        let mut table = Self {
            pool: Pool::new(&config),
            config,
            identifiers: Identifiers::default(),
            reserved: HashMap::new(),
            reserved_addresses: HashMap::new(),
            leases: Leases::default(),
            conflicts: HashMap::new(),
            changed: BTreeSet::new(),
        };
        table.set_reservations(reservations);
        table
    }

    /// Sets the MTU of future replies, RFC 2132 option 26.
    pub fn set_mtu(&mut self, mtu: Option<u16>) {
        self.config.mtu = mtu;
    }

    /// Replaces all reservations. A lease of a reserved address ends, and so does that of a client with a reservation.
    pub fn set_reservations(&mut self, reservations: Vec<Reservation>) {
        let before: Vec<_> = self.reserved_addresses.drain().collect();
        self.reserved.clear();
        for reservation in reservations {
            self.reserved_addresses
                .insert(reservation.address, reservation.mac);
            self.reserved.insert(reservation.mac, reservation);
        }
        for (address, _) in before {
            self.give_back(address);
        }
        let taken: Vec<_> = self.reserved_addresses.keys().copied().collect();
        for address in taken {
            self.end(address);
            self.pool.reserve(address);
        }
        let leased: Vec<_> = self
            .reserved
            .keys()
            .filter_map(|mac| self.leases.of(*mac))
            .map(|lease| lease.address)
            .collect();
        for address in leased {
            self.end(address);
        }
    }

    /// Sets which ranges nobody gets an address of, each by its first and last; leases of such addresses end.
    pub fn exclude(&mut self, ranges: Vec<(Ipv4Addr, Ipv4Addr)>) {
        let is_in = |a: &Ipv4Addr| {
            ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(a))
        };
        let leased: Vec<_> = self
            .leases
            .iter()
            .map(|l| l.address)
            .filter(is_in)
            .collect();
        self.pool.exclude(ranges);
        for address in leased {
            self.end(address);
        }
        // What a node has stays its own.
        let reserved: Vec<_> = self.reserved_addresses.keys().copied().collect();
        for address in reserved {
            self.pool.reserve(address);
        }
    }

    /// The bound leases that have not expired at `now`, in seconds after the epoch.
    pub fn leases(&self, now: u64) -> impl Iterator<Item = &Lease> {
        self.on_file().filter(move |l| l.expires > now)
    }

    /// The bound leases, expired ones too: their clients get the same address again.
    pub(super) fn on_file(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(|l| l.bound)
    }

    /// How many addresses are free, and how many are in quarantine.
    #[must_use]
    pub fn free_and_quarantined(&self) -> (usize, usize) {
        self.pool.sizes()
    }

    /// Adds one lease of an earlier run if its address is in the subnet. A later lease of the same client or address
    /// replaces it. It lasts no longer than a new lease, even if the clock was ahead.
    pub(super) fn load(&mut self, lease: Lease, now: u64) {
        let latest = now.saturating_add(self.config.lease_time.as_secs());
        let lease = Lease {
            expires: lease.expires.min(latest),
            bound: true,
            ..lease
        };
        let is_ours = self.pool.is_free(lease.address) || self.leases.at(lease.address).is_some();
        if is_ours && lease.mac.is_unicast() && self.reservation(lease.mac).is_none() {
            self.insert(lease);
        }
    }

    /// Ends a lease of an earlier run.
    pub(super) fn unload(&mut self, address: Ipv4Addr) {
        self.end(address);
    }

    /// Whether a bound lease was created, changed or ended since [`Self::take_changes`]. Expiry does not count.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The changes of bound leases since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<LeaseChange> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|address| match self.leases.at(address) {
                Some(lease) if lease.bound => LeaseChange::Bound(*lease),
                _ => LeaseChange::Ended(address),
            })
            .collect()
    }

    pub(super) fn reservation(&self, mac: MacAddr) -> Option<&Reservation> {
        self.reserved.get(&mac)
    }

    /// The address on record for a client: reserved, or bound, even if the lease expired.
    pub(super) fn on_record(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.reservation(mac)
            .map(|r| r.address)
            .or_else(|| self.leases.of(mac).filter(|l| l.bound).map(|l| l.address))
    }

    /// The address that a client has or was offered.
    pub(super) fn on_record_or_offer(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.on_record(mac)
            .or_else(|| self.leases.of(mac).map(|l| l.address))
    }

    /// The client that an address belongs to, with its lease unless it is reserved.
    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<(MacAddr, Option<Lease>)> {
        if let Some(mac) = self.reserved_addresses.get(&address) {
            return Some((*mac, None));
        }
        let lease = self.leases.at(address).filter(|l| l.bound)?;
        Some((lease.mac, Some(*lease)))
    }

    /// An address for a client: its own, else the requested one, else any.
    pub(super) fn offer(&mut self, mac: MacAddr, requested: Option<Ipv4Addr>, now: u64) -> Offer {
        if let Some(reservation) = self.reservation(mac) {
            return Offer::Ready(reservation.address);
        }
        self.sweep(now);
        let had = self.leases.of(mac).copied();
        if let Some(lease) = had.filter(|l| l.bound && l.expires > now) {
            return Offer::Ready(lease.address);
        }
        let requested = requested.filter(|a| self.pool.is_available(mac, *a));
        let address = had.map(|l| l.address).or(requested);
        let Some(address) = address.or_else(|| self.pick(now)) else {
            return Offer::Full;
        };
        self.insert(Lease {
            mac,
            address,
            expires: now + OFFER,
            bound: false,
        });
        if self.pool.needs_probe(address, now) {
            self.pool.start_probe(address);
            return Offer::Unprobed(address);
        }
        Offer::Ready(address)
    }

    /// Binds an address to a client for some seconds; false when it is not available for the client.
    pub(super) fn bind(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64, seconds: u32) -> bool {
        if let Some(reservation) = self.reservation(mac) {
            return reservation.address == address;
        }
        self.sweep(now);
        let lease = self.leases.at(address);
        let may_take = |l: &Lease| l.mac == mac || l.expires <= now;
        if !self.pool.is_available(mac, address) && !lease.is_some_and(may_take) {
            return false;
        }
        let new = Lease {
            mac,
            address,
            expires: now + u64::from(seconds),
            bound: true,
        };
        // A request repeated within the second changes nothing.
        if lease != Some(&new) {
            self.insert(new);
            self.changed.insert(address);
            // The result was for this client: the next client needs another probe.
            self.pool.forget_probe(address);
        }
        true
    }

    /// Ends a client's lease of this address now. It stays on record, RFC 2131 section 4.3.4: the client gets the same
    /// address again while others are free.
    pub(super) fn release(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64) {
        let held = self.leases.of(mac).copied();
        if let Some(lease) = held.filter(|l| l.address == address && l.bound && l.expires > now) {
            self.insert(Lease {
                expires: now,
                ..lease
            });
            self.changed.insert(address);
        }
    }

    /// Ends a client's offer; a bound lease stays.
    pub(super) fn retract(&mut self, mac: MacAddr) {
        if let Some(offer) = self.leases.of(mac).copied().filter(|l| !l.bound) {
            self.end(offer.address);
        }
    }

    /// Quarantines an address that its client found in use.
    pub(super) fn decline(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64) {
        let is_its_own = self.leases.of(mac).is_some_and(|l| l.address == address);
        if is_its_own && self.end(address) {
            self.pool.isolate(address, None, now);
        }
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.config.subnet.contains(address)
    }

    /// Addresses to probe by ARP now. The caller must call [`Self::unanswered`] for each that no station answers for.
    pub fn start_probes(&mut self, now: u64) -> Vec<Ipv4Addr> {
        self.pool.start_probes(now)
    }

    /// Nobody answered the probe of an address.
    pub fn unanswered(&mut self, address: Ipv4Addr, now: u64) {
        self.pool.unanswered(address, now);
    }

    /// Whether the probe of an address is under way.
    pub(super) fn is_probing(&self, address: Ipv4Addr) -> bool {
        self.pool.is_probing(address)
    }

    /// Notes that a station uses an address. A free address goes into quarantine, and an offer of it is withdrawn. Returns
    /// the client that the address belongs to when that is another station, once in a while.
    pub(super) fn observe(&mut self, by: MacAddr, address: Ipv4Addr, now: u64) -> Option<MacAddr> {
        if !self.contains(address) || address == self.config.server {
            return None;
        }
        let owner = match self.owner(address) {
            Some((mac, lease)) if lease.is_none_or(|l| l.expires > now) => Some(mac),
            _ => None,
        };
        if let Some(owner) = owner {
            if owner == by {
                self.conflicts.remove(&address);
                return None;
            }
            let reported = self.conflicts.get(&address);
            if reported.is_some_and(|until| *until > now) {
                return None;
            }
            self.conflicts.insert(address, now + QUARANTINE);
            return Some(owner);
        }
        // A client may use its address since before this server started.
        if self.leases.at(address).is_none_or(|l| l.mac != by) {
            self.end(address);
            self.pool.isolate(address, Some(by), now);
        }
        None
    }

    /// Frees the addresses of offers and quarantines that are over. Expired leases stay on record.
    fn sweep(&mut self, now: u64) {
        while let Some(offer) = self.leases.first_offer().copied()
            && offer.expires <= now
        {
            self.end(offer.address);
        }
        self.pool.end_quarantines(now);
    }

    /// Any address: first one that was never leased, then the one whose lease expired longest ago, then the oldest offer.
    /// Any number of clients that only discover must not keep out one that requests its offer.
    fn pick(&mut self, now: u64) -> Option<Ipv4Addr> {
        let free = self.pool.pick(now);
        if free.is_some() {
            return free;
        }
        let expired = self.leases.first_bound().filter(|l| l.expires <= now);
        let address = expired.or_else(|| self.leases.first_offer())?.address;
        self.end(address);
        Some(address)
    }

    /// Makes a lease or offer the only one of its client and of its address.
    fn insert(&mut self, lease: Lease) {
        if let Some(before) = self.leases.of(lease.mac).map(|l| l.address)
            && before != lease.address
        {
            self.end(before);
        }
        self.leases.insert(lease);
        self.pool.take(lease.address);
    }

    /// Ends the lease or offer of an address; true when there was one.
    fn end(&mut self, address: Ipv4Addr) -> bool {
        let Some(lease) = self.leases.remove(address) else {
            return false;
        };
        if lease.bound {
            self.changed.insert(address);
        }
        self.give_back(address);
        true
    }

    /// Returns an address to the pool unless a reservation or a lease has it.
    fn give_back(&mut self, address: Ipv4Addr) {
        let is_reserved = self.reserved_addresses.contains_key(&address);
        if !is_reserved && self.leases.at(address).is_none() {
            self.pool.give_back(address);
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

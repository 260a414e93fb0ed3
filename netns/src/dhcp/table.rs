//! Who has which address.
//!
//! Every step costs the same whether there are ten leases or fifty thousand: what is looked for has an index.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::config::{Config, Reservation};
use super::identifiers::Identifiers;
use super::vacancy::Vacancy;
use crate::MacAddr;

/// An offer that is not taken up is free again after this many seconds.
const OFFER: u64 = 60;
/// An address that somebody else was found to use is left alone for this many seconds.
const QUARANTINE: u64 = 600;

/// An address that some other client holds for a time.
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
    /// What there is to sort leases by: offers first, and what ends sooner first.
    fn rank(&self) -> (bool, u64, Ipv4Addr) {
        (self.bound, self.expires, self.address)
    }
}

/// What came to be of the bound lease of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Bound(Lease),
    Ended(Ipv4Addr),
}

/// What there is for a client that looks for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// This one, kept for it for a minute.
    Ready(Ipv4Addr),
    /// This one, kept for it, when nobody turns out to use it.
    Unasked(Ipv4Addr),
    /// None: all are taken.
    Full,
}

/// An address that is left alone.
#[derive(Clone, Copy, Debug)]
struct Shunned {
    /// Who uses it, if that is known.
    by: Option<MacAddr>,
    /// Seconds after the epoch.
    until: u64,
}

/// Reservations, leases, and addresses in quarantine. Never more of them than the range has addresses.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) config: Config,
    pub(super) identifiers: Identifiers,
    reserved: HashMap<MacAddr, Reservation>,
    reserved_addresses: HashMap<Ipv4Addr, MacAddr>,
    leases: HashMap<Ipv4Addr, Lease>,
    /// The one lease or offer of each client.
    holders: HashMap<MacAddr, Ipv4Addr>,
    ranks: BTreeSet<(bool, u64, Ipv4Addr)>,
    /// Neither reserved nor leased nor offered nor left alone.
    free: BTreeSet<Ipv4Addr>,
    shunned: HashMap<Ipv4Addr, Shunned>,
    shunned_until: BTreeSet<(u64, Ipv4Addr)>,
    vacancy: Vacancy,
    /// Addresses that others than their owners use, and how long that is no news, in seconds after the epoch.
    intruders: HashMap<Ipv4Addr, u64>,
    changed: BTreeSet<Ipv4Addr>,
}

impl Table {
    /// A table without leases.
    #[must_use]
    pub fn new(config: Config, reservations: Vec<Reservation>) -> Self {
        let subnet = config.subnet;
        let (first, last) = (
            u32::from(subnet.network()).saturating_add(1),
            u32::from(subnet.broadcast()),
        );
        let free = (first..last)
            .map(Ipv4Addr::from)
            .filter(|a| *a != config.server);
        let mut table = Self {
            free: free.collect(),
            config,
            identifiers: Identifiers::default(),
            reserved: HashMap::new(),
            reserved_addresses: HashMap::new(),
            leases: HashMap::new(),
            holders: HashMap::new(),
            ranks: BTreeSet::new(),
            shunned: HashMap::new(),
            shunned_until: BTreeSet::new(),
            vacancy: Vacancy::default(),
            intruders: HashMap::new(),
            changed: BTreeSet::new(),
        };
        table.set_reservations(reservations);
        table
    }

    /// Has clients told another MTU from now on, option 26 of RFC 2132.
    pub fn set_mtu(&mut self, mtu: Option<u16>) {
        self.config.mtu = mtu;
    }

    /// Replaces all reservations; a lease on a reserved address ends.
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
            self.unshun(address);
            self.free.remove(&address);
            self.vacancy.forget(address);
        }
        // A client that has an address for ever needs no lease.
        let known: Vec<_> = self.reserved.keys().copied().collect();
        for address in known
            .iter()
            .filter_map(|mac| self.holders.get(mac))
            .copied()
            .collect::<Vec<_>>()
        {
            self.end(address);
        }
    }

    /// The leases that are bound and last at `now`, in seconds after the epoch.
    pub fn leases(&self, now: u64) -> impl Iterator<Item = &Lease> {
        self.on_file().filter(move |l| l.expires > now)
    }

    /// The leases that are bound, also those that ran out: their clients get the same address again.
    pub(super) fn on_file(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(|l| l.bound)
    }

    /// How many addresses are free and how many are left alone for now.
    #[must_use]
    pub fn vacant(&self) -> (usize, usize) {
        (self.free.len(), self.shunned.len())
    }

    /// Takes over one lease of an earlier run, if it is of this range; a later one of the same client or
    /// address replaces it. A clock that was ahead then does not keep it for longer than a lease lasts.
    pub(super) fn load(&mut self, lease: Lease, now: u64) {
        let latest = now.saturating_add(self.config.lease_time.as_secs());
        let lease = Lease {
            expires: lease.expires.min(latest),
            bound: true,
            ..lease
        };
        let is_ours =
            self.free.contains(&lease.address) || self.leases.contains_key(&lease.address);
        if is_ours && lease.mac.is_unicast() && self.reservation(lease.mac).is_none() {
            self.insert(lease);
        }
    }

    /// Ends a lease of an earlier run.
    pub(super) fn unload(&mut self, address: Ipv4Addr) {
        self.end(address);
    }

    /// Whether a bound lease came, changed or went since [`Self::take_changes`]. One that ran out is no change.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What came to be of the leases that changed.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changed)
            .into_iter()
            .map(|address| match self.leases.get(&address) {
                Some(lease) if lease.bound => Change::Bound(*lease),
                _ => Change::Ended(address),
            })
            .collect()
    }

    pub(super) fn reservation(&self, mac: MacAddr) -> Option<&Reservation> {
        self.reserved.get(&mac)
    }

    /// The address on record for a client: reserved, or bound, even if that ran out since.
    pub(super) fn on_record(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.reservation(mac)
            .map(|r| r.address)
            .or_else(|| self.lease_of(mac).filter(|l| l.bound).map(|l| l.address))
    }

    /// The address that a client has or was offered.
    pub(super) fn on_record_or_offer(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.on_record(mac)
            .or_else(|| self.holders.get(&mac).copied())
    }

    /// The client that an address belongs to, with its lease unless it is reserved.
    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<(MacAddr, Option<Lease>)> {
        if let Some(mac) = self.reserved_addresses.get(&address) {
            return Some((*mac, None));
        }
        let lease = self.leases.get(&address).filter(|l| l.bound)?;
        Some((lease.mac, Some(*lease)))
    }

    fn lease_of(&self, mac: MacAddr) -> Option<&Lease> {
        self.leases.get(self.holders.get(&mac)?)
    }

    /// An address for a client: its own, else the one that it wishes for, else any.
    pub(super) fn offer(&mut self, mac: MacAddr, wish: Option<Ipv4Addr>, now: u64) -> Offer {
        if let Some(reservation) = self.reservation(mac) {
            return Offer::Ready(reservation.address);
        }
        self.sweep(now);
        let had = self.lease_of(mac).copied();
        if let Some(lease) = had.filter(|l| l.bound && l.expires > now) {
            return Offer::Ready(lease.address);
        }
        let wish = wish.filter(|a| self.is_available(mac, *a));
        let Some(address) = had.map(|l| l.address).or(wish).or_else(|| self.pick(now)) else {
            return Offer::Full;
        };
        self.insert(Lease {
            mac,
            address,
            expires: now + OFFER,
            bound: false,
        });
        if !self.config.probe || self.vacancy.is_silent(address, now) {
            return Offer::Ready(address);
        }
        self.vacancy.ask(address);
        Offer::Unasked(address)
    }

    /// Makes an address a client's for some seconds; false when it cannot have it.
    pub(super) fn bind(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64, seconds: u32) -> bool {
        if let Some(reservation) = self.reservation(mac) {
            return reservation.address == address;
        }
        self.sweep(now);
        let has_run_out = |l: &Lease| l.expires <= now;
        let has = |l: &Lease| l.mac == mac;
        let lease = self.leases.get(&address);
        if !self.is_available(mac, address) && !lease.is_some_and(|l| has(l) || has_run_out(l)) {
            return false;
        }
        let new = Lease {
            mac,
            address,
            expires: now + u64::from(seconds),
            bound: true,
        };
        // Asked for again within the second, it is the same.
        if lease != Some(&new) {
            self.insert(new);
            self.changed.insert(address);
            // What it was asked for is done; the next client's turn asks anew.
            self.vacancy.forget(address);
        }
        true
    }

    /// Ends a client's lease of this address now. It stays on record, RFC 2131 section 4.3.4: who comes
    /// back gets the same address while there are others.
    pub(super) fn release(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64) {
        let held = self.lease_of(mac).copied();
        if let Some(lease) = held.filter(|l| l.address == address && l.bound && l.expires > now) {
            self.insert(Lease {
                expires: now,
                ..lease
            });
            self.changed.insert(address);
        }
    }

    /// Ends a client's offer, if that is all it has.
    pub(super) fn retract(&mut self, mac: MacAddr) {
        if let Some(offer) = self.lease_of(mac).copied().filter(|l| !l.bound) {
            self.end(offer.address);
        }
    }

    /// Leaves an address alone that its client found in use.
    pub(super) fn decline(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64) {
        if self.holders.get(&mac) == Some(&address) && self.end(address) {
            self.shun(address, None, now);
        }
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.config.subnet.contains(address)
    }

    /// Addresses to ask for by ARP now; [`Self::silent`] is to follow for each that nobody answers for.
    pub fn due(&mut self, now: u64) -> Vec<Ipv4Addr> {
        if !self.config.probe {
            return Vec::new();
        }
        self.vacancy.due(self.free.iter().rev(), now)
    }

    /// Nobody answered for an address that was asked for.
    pub fn silent(&mut self, address: Ipv4Addr, now: u64) {
        self.vacancy
            .answered_by_none(address, self.free.contains(&address), now);
    }

    /// Whether an address is asked for and the time for an answer not over.
    pub(super) fn is_asked(&self, address: Ipv4Addr) -> bool {
        self.vacancy.is_asked(address)
    }

    /// A station was heard to use an address: a free one is left alone from now on, an offer of it is taken
    /// back. Returns the client that has it by right, when that is another and this is news.
    pub(super) fn heard(&mut self, by: MacAddr, address: Ipv4Addr, now: u64) -> Option<MacAddr> {
        if !self.contains(address) || address == self.config.server {
            return None;
        }
        let owner = match self.owner(address) {
            Some((mac, lease)) if lease.is_none_or(|l| l.expires > now) => Some(mac),
            _ => None,
        };
        if let Some(owner) = owner {
            if owner == by {
                self.intruders.remove(&address);
                return None;
            }
            let told = self.intruders.get(&address);
            if told.is_some_and(|until| *until > now) {
                return None;
            }
            self.intruders.insert(address, now + QUARANTINE);
            return Some(owner);
        }
        // The client itself may have it since before this server knew.
        if self.leases.get(&address).is_none_or(|l| l.mac != by) {
            self.end(address);
            self.shun(address, Some(by), now);
        }
        None
    }

    fn shun(&mut self, address: Ipv4Addr, by: Option<MacAddr>, now: u64) {
        if self.reserved_addresses.contains_key(&address) {
            return;
        }
        let until = now + QUARANTINE;
        if let Some(before) = self.shunned.insert(address, Shunned { by, until }) {
            self.shunned_until.remove(&(before.until, address));
        } else if !self.free.remove(&address) {
            // Not an address that anybody can be given.
            self.shunned.remove(&address);
            return;
        }
        self.shunned_until.insert((until, address));
        self.vacancy.forget(address);
    }

    fn unshun(&mut self, address: Ipv4Addr) -> bool {
        let Some(before) = self.shunned.remove(&address) else {
            return false;
        };
        self.shunned_until.remove(&(before.until, address));
        true
    }

    /// What ran out is free again: offers and quarantines. A lease stays on record.
    fn sweep(&mut self, now: u64) {
        while let Some((false, expires, address)) = self.ranks.first().copied()
            && expires <= now
        {
            self.end(address);
        }
        while let Some((until, address)) = self.shunned_until.first().copied()
            && until <= now
        {
            self.unshun(address);
            self.give_back(address);
        }
    }

    /// Whether nobody but this client has a claim on an address.
    fn is_available(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.free.contains(&address)
            || self
                .shunned
                .get(&address)
                .is_some_and(|s| s.by == Some(mac))
    }

    /// Any address, from the end: nodes that join later take from the front. First one that was never had,
    /// then one whose lease ran out longest ago, at last the oldest offer: clients without number must not
    /// keep out the one that goes on to take what it is offered.
    fn pick(&mut self, now: u64) -> Option<Ipv4Addr> {
        let asked = self.config.probe.then(|| self.vacancy.pick(now)).flatten();
        if let Some(address) = asked.or_else(|| self.free.last().copied()) {
            return Some(address);
        }
        let bound = (true, 0, Ipv4Addr::UNSPECIFIED);
        let ran_out = self.ranks.range(bound..).next().filter(|r| r.1 <= now);
        let offered = || self.ranks.first().filter(|r| !r.0);
        let (_, _, address) = *ran_out.or_else(offered)?;
        self.end(address);
        Some(address)
    }

    /// Makes a lease or offer the only one of its client and of its address.
    fn insert(&mut self, lease: Lease) {
        if let Some(before) = self.holders.get(&lease.mac).copied()
            && before != lease.address
        {
            self.end(before);
        }
        if let Some(before) = self.leases.insert(lease.address, lease) {
            self.ranks.remove(&before.rank());
            if before.mac != lease.mac {
                self.holders.remove(&before.mac);
            }
        }
        self.unshun(lease.address);
        self.free.remove(&lease.address);
        self.vacancy.take(lease.address);
        self.holders.insert(lease.mac, lease.address);
        self.ranks.insert(lease.rank());
    }

    /// Ends the lease or offer of an address; true when there was one.
    fn end(&mut self, address: Ipv4Addr) -> bool {
        let Some(lease) = self.leases.remove(&address) else {
            return false;
        };
        self.ranks.remove(&lease.rank());
        self.holders.remove(&lease.mac);
        if lease.bound {
            self.changed.insert(address);
        }
        self.give_back(address);
        true
    }

    fn give_back(&mut self, address: Ipv4Addr) {
        let subnet = self.config.subnet;
        let is_special =
            [subnet.network(), subnet.broadcast(), self.config.server].contains(&address);
        if self.contains(address)
            && !is_special
            && !self.reserved_addresses.contains_key(&address)
            && !self.leases.contains_key(&address)
            && !self.shunned.contains_key(&address)
        {
            self.free.insert(address);
            self.vacancy.give_back(address);
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

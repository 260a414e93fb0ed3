//! Who has which address.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

use crate::MacAddr;

/// An offer that is not taken up is free again after this.
const OFFER: u64 = 60;
/// An address that a client found in use is left alone for this.
const QUARANTINE: u64 = 600;

/// What every answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server's own address: its identifier, RFC 2132 section 9.7.
    pub server: Ipv4Addr,
    /// The range served.
    pub subnet: Ipv4Network,
    /// The default router.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain of the clients.
    pub domain: Option<String>,
    /// The link's MTU in bytes, RFC 2132 section 5.1.
    pub mtu: Option<u16>,
    /// How long a lease lasts.
    pub lease_time: Duration,
}

/// An address kept for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The client's Ethernet address; its client identifier does not matter.
    pub mac: MacAddr,
    /// Its address for ever.
    pub address: Ipv4Addr,
    /// Its name, option 12.
    pub hostname: String,
}

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

/// Reservations, leases, and addresses in quarantine. Never more of them than the range has addresses.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) config: Config,
    reserved: HashMap<MacAddr, Reservation>,
    leases: HashMap<Ipv4Addr, Lease>,
    quarantine: HashMap<Ipv4Addr, u64>,
    changes: u64,
}

impl Table {
    /// A table without leases.
    #[must_use]
    pub fn new(config: Config, reservations: Vec<Reservation>) -> Self {
        let mut table = Self {
            config,
            reserved: HashMap::new(),
            leases: HashMap::new(),
            quarantine: HashMap::new(),
            changes: 0,
        };
        table.set_reservations(reservations);
        table
    }

    /// Replaces all reservations; a lease on a reserved address ends.
    pub fn set_reservations(&mut self, reservations: Vec<Reservation>) {
        let addresses: HashSet<_> = reservations.iter().map(|r| r.address).collect();
        self.remove(|lease| addresses.contains(&lease.address));
        self.reserved = reservations.into_iter().map(|r| (r.mac, r)).collect();
    }

    /// The leases that are bound.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values().filter(|l| l.bound)
    }

    /// Grows with each change of the leases that are bound. A lease that ran out is no change.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes over leases of an earlier run, as far as they are of this range.
    pub fn load(&mut self, leases: Vec<Lease>) {
        for lease in leases {
            if self.is_free_for(lease.mac, lease.address, 0) {
                self.leases.insert(lease.address, lease);
            }
        }
    }

    pub(super) fn reservation(&self, mac: MacAddr) -> Option<&Reservation> {
        self.reserved.get(&mac)
    }

    /// The address that a client has: reserved, or bound and not run out.
    pub(super) fn held(&self, mac: MacAddr, now: u64) -> Option<Ipv4Addr> {
        let leased = || {
            self.leases
                .values()
                .find(|l| l.mac == mac && l.bound && l.expires > now)
        };
        self.reservation(mac)
            .map(|r| r.address)
            .or_else(|| leased().map(|l| l.address))
    }

    /// An address for a client, kept for it for a minute; none when the range is full.
    pub(super) fn offer(
        &mut self,
        mac: MacAddr,
        wish: Option<Ipv4Addr>,
        now: u64,
    ) -> Option<Ipv4Addr> {
        if let Some(reservation) = self.reservation(mac) {
            return Some(reservation.address);
        }
        self.quarantine.retain(|_, until| *until > now);
        let had = self
            .leases
            .values()
            .find(|l| l.mac == mac)
            .map(|l| l.address);
        let address = had
            .into_iter()
            .chain(wish)
            .find(|a| self.is_free_for(mac, *a, now))
            .or_else(|| self.first_free(mac, now))?;
        let bound = self
            .leases
            .get(&address)
            .is_some_and(|l| l.mac == mac && l.bound && l.expires > now);
        if !bound {
            self.leases.retain(|_, l| l.mac != mac);
            self.leases.insert(
                address,
                Lease {
                    mac,
                    address,
                    expires: now + OFFER,
                    bound: false,
                },
            );
        }
        Some(address)
    }

    /// Makes an address a client's for the lease time; false when it cannot have it.
    pub(super) fn bind(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64) -> bool {
        if let Some(reservation) = self.reservation(mac) {
            return reservation.address == address;
        }
        if !self.is_free_for(mac, address, now) {
            return false;
        }
        let lease = Lease {
            mac,
            address,
            expires: now + self.config.lease_time.as_secs(),
            bound: true,
        };
        // Asked for again within the second, it is the same.
        if self.leases.get(&address) != Some(&lease) {
            self.leases.retain(|_, l| l.mac != mac);
            self.leases.insert(address, lease);
            self.changes += 1;
        }
        true
    }

    /// Ends a client's lease or offer of an address.
    pub(super) fn release(&mut self, mac: MacAddr, address: Option<Ipv4Addr>) -> bool {
        self.remove(|l| l.mac == mac && address.is_none_or(|a| a == l.address))
    }

    /// Ends leases and offers; true when there was one.
    fn remove(&mut self, ends: impl Fn(&Lease) -> bool) -> bool {
        let ended: Vec<_> = self.leases.extract_if(|_, l| ends(l)).collect();
        if ended.iter().any(|(_, l)| l.bound) {
            self.changes += 1;
        }
        !ended.is_empty()
    }

    /// Leaves an address alone that its client found in use.
    pub(super) fn decline(&mut self, mac: MacAddr, address: Ipv4Addr, now: u64) {
        if self.release(mac, Some(address)) {
            self.quarantine.insert(address, now + QUARANTINE);
        }
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.config.subnet.contains(address)
    }

    fn is_free_for(&self, mac: MacAddr, address: Ipv4Addr, now: u64) -> bool {
        let subnet = self.config.subnet;
        self.contains(address)
            && ![subnet.network(), subnet.broadcast(), self.config.server].contains(&address)
            && !self.reserved.values().any(|r| r.address == address)
            && !self.quarantine.contains_key(&address)
            && self
                .leases
                .get(&address)
                .is_none_or(|l| l.mac == mac || l.expires <= now)
    }

    fn first_free(&self, mac: MacAddr, now: u64) -> Option<Ipv4Addr> {
        // From the end: nodes that join later take from the front.
        let subnet = self.config.subnet;
        let (first, last) = (
            u32::from(subnet.network()) + 1,
            u32::from(subnet.broadcast()),
        );
        (first..last)
            .rev()
            .map(Ipv4Addr::from)
            .find(|a| self.is_free_for(mac, *a, now))
    }
}

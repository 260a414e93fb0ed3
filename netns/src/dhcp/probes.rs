//! The free addresses that the server probed by ARP and found unused. It probes an address before it offers it, RFC 2131
//! section 3.1.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

/// How long a probe without an answer counts, in seconds. The server sees a station that takes the address later by its ARP.
const VALIDITY: u64 = 300;
/// Fewest and most addresses that are probed ahead of their clients; in between, as many as clients came in two seconds.
const LEAST_AHEAD: usize = 256;
const MOST_AHEAD: usize = 4096;

/// How many clients asked for any address, in this second and in the previous one.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    second: u64,
    here: usize,
    before: usize,
}

impl Demand {
    fn at(self, now: u64) -> Self {
        let (here, before) = match now.checked_sub(self.second) {
            Some(0) => (self.here, self.before),
            Some(1) => (0, self.here),
            _ => (0, 0),
        };
        Self {
            second: now,
            here,
            before,
        }
    }

    fn count(&mut self, now: u64) {
        *self = self.at(now);
        self.here += 1;
    }

    fn ahead(self, now: u64) -> usize {
        let Self { here, before, .. } = self.at(now);
        (2 * here.max(before)).clamp(LEAST_AHEAD, MOST_AHEAD)
    }
}

/// The state of all probes; no set holds more addresses than the subnet.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    /// Addresses found unused, and until when that counts, in seconds after the epoch.
    unused: HashMap<Ipv4Addr, u64>,
    /// The unused addresses that are free.
    ready: BTreeSet<Ipv4Addr>,
    /// Addresses whose probe is under way.
    pending: HashSet<Ipv4Addr>,
    /// The pending addresses that no client waits for.
    ahead: HashSet<Ipv4Addr>,
    demand: Demand,
}

impl Probes {
    pub(super) fn is_unused(&self, address: Ipv4Addr, now: u64) -> bool {
        self.unused.get(&address).is_some_and(|until| *until > now)
    }

    pub(super) fn is_pending(&self, address: Ipv4Addr) -> bool {
        self.pending.contains(&address)
    }

    pub(super) fn start(&mut self, address: Ipv4Addr) {
        self.pending.insert(address);
    }

    /// Notes that the time for an answer is over, and none came.
    pub(super) fn unanswered(&mut self, address: Ipv4Addr, is_free: bool, now: u64) {
        self.ahead.remove(&address);
        if self.pending.remove(&address) {
            self.unused.insert(address, now + VALIDITY);
            if is_free {
                self.ready.insert(address);
            }
        }
    }

    /// Drops the result of a probe, when the address is in use or leased.
    pub(super) fn forget(&mut self, address: Ipv4Addr) {
        self.unused.remove(&address);
        self.ready.remove(&address);
        self.pending.remove(&address);
        self.ahead.remove(&address);
    }

    /// Notes that an address is no longer free; the result of its probe still counts.
    pub(super) fn take(&mut self, address: Ipv4Addr) {
        self.ahead.remove(&address);
        self.ready.remove(&address);
    }

    /// Notes that an address is free again; with a result that still counts it can be offered at once.
    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        if self.unused.contains_key(&address) {
            self.ready.insert(address);
        }
    }

    /// Takes an address that can be offered at once.
    pub(super) fn pick(&mut self, now: u64) -> Option<Ipv4Addr> {
        self.demand.count(now);
        while let Some(address) = self.ready.pop_last() {
            if self.is_unused(address, now) {
                return Some(address);
            }
            self.unused.remove(&address);
        }
        None
    }

    /// The free addresses to probe now, so that some are always ready. Marks them as pending.
    pub(super) fn start_due<'a>(
        &mut self,
        free: impl Iterator<Item = &'a Ipv4Addr>,
        now: u64,
    ) -> Vec<Ipv4Addr> {
        let goal = self.demand.ahead(now);
        let there = self.ready.len() + self.ahead.len();
        // The last quarter has to last until the next answers are due.
        if there > goal - goal / 4 {
            return Vec::new();
        }
        let due: Vec<_> = free
            .filter(|a| !self.pending.contains(a) && !self.is_unused(**a, now))
            .take(goal - there)
            .copied()
            .collect();
        self.pending.extend(&due);
        self.ahead.extend(&due);
        due
    }
}

//! Which free addresses nobody seems to use: asked for by ARP before they are offered, RFC 2131 section 3.1,
//! and listened for afterwards.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

/// How long the silence of an address counts. Whoever comes later is heard by its own broadcasts.
const SILENCE: u64 = 300;
/// How many addresses are kept asked for ahead of their clients: as many as came in two seconds, but at least and at most
/// so many.
const FIRST_GOAL: usize = 256;
const LAST_GOAL: usize = 4096;

/// How many clients came for any address, in this second and in the one before.
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

    fn goal(self, now: u64) -> usize {
        let Self { here, before, .. } = self.at(now);
        (2 * here.max(before)).clamp(FIRST_GOAL, LAST_GOAL)
    }
}

/// Never more of anything here than the range has addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Vacancy {
    /// Until when an address's silence counts, in seconds after the epoch.
    silent: HashMap<Ipv4Addr, u64>,
    /// Those of the silent ones that are free.
    ready: BTreeSet<Ipv4Addr>,
    /// Asked for, and not yet known to be silent.
    asked: HashSet<Ipv4Addr>,
    /// Those of the asked ones that no client waits for.
    ahead: HashSet<Ipv4Addr>,
    demand: Demand,
}

impl Vacancy {
    pub(super) fn is_silent(&self, address: Ipv4Addr, now: u64) -> bool {
        self.silent.get(&address).is_some_and(|until| *until > now)
    }

    pub(super) fn is_asked(&self, address: Ipv4Addr) -> bool {
        self.asked.contains(&address)
    }

    pub(super) fn ask(&mut self, address: Ipv4Addr) {
        self.asked.insert(address);
    }

    /// Nobody answered for an address in time.
    pub(super) fn answered_by_none(&mut self, address: Ipv4Addr, is_free: bool, now: u64) {
        self.ahead.remove(&address);
        if self.asked.remove(&address) {
            self.silent.insert(address, now + SILENCE);
            if is_free {
                self.ready.insert(address);
            }
        }
    }

    /// An address is in use after all, or given to a client.
    pub(super) fn forget(&mut self, address: Ipv4Addr) {
        self.silent.remove(&address);
        self.ready.remove(&address);
        self.asked.remove(&address);
        self.ahead.remove(&address);
    }

    /// An address is no longer free, but its silence still counts.
    pub(super) fn take(&mut self, address: Ipv4Addr) {
        self.ahead.remove(&address);
        self.ready.remove(&address);
    }

    /// An address is free again; if it is known to be silent, it can be offered at once.
    pub(super) fn give_back(&mut self, address: Ipv4Addr) {
        if self.silent.contains_key(&address) {
            self.ready.insert(address);
        }
    }

    /// An address that can be offered at once.
    pub(super) fn pick(&mut self, now: u64) -> Option<Ipv4Addr> {
        self.demand.count(now);
        while let Some(address) = self.ready.pop_last() {
            if self.is_silent(address, now) {
                return Some(address);
            }
            self.silent.remove(&address);
        }
        None
    }

    /// Which of the free addresses are to be asked for now, so that there are always some ready.
    pub(super) fn due<'a>(
        &mut self,
        free: impl Iterator<Item = &'a Ipv4Addr>,
        now: u64,
    ) -> Vec<Ipv4Addr> {
        let goal = self.demand.goal(now);
        let there = self.ready.len() + self.ahead.len();
        // The answers take their time: what is left has to last until then.
        if there > goal - goal / 4 {
            return Vec::new();
        }
        let due: Vec<_> = free
            .filter(|a| !self.asked.contains(a) && !self.is_silent(**a, now))
            .take(goal - there)
            .copied()
            .collect();
        self.asked.extend(&due);
        self.ahead.extend(&due);
        due
    }
}

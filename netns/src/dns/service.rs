//! The name server of all sockets. It asks the host's resolvers, and each question only once at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::{OnceCell, Semaphore, mpsc};

use super::cache::Key;
use super::exceptions::CutOff;
use super::resolution::Resolution;
use super::resolv_conf::{HostResolvers, Resolvers};
use super::responder::{Action, ForwardedQuery, Responder};
use super::upstream::{Upstream, within_bounds};
use super::zone::Zone;
use crate::Protocol;

/// Questions under way at a time, of all clients and of one.
const IN_FLIGHT: usize = 256;
const IN_FLIGHT_OF_ONE: usize = 96;

type Pending = Arc<OnceCell<Arc<Resolution>>>;

/// A name server without sockets; all networks of a cluster share one.
#[derive(Debug)]
pub struct Service {
    responder: Mutex<Responder>,
    host: Mutex<HostResolvers>,
    upstream: Upstream,
    pending: Mutex<HashMap<Key, Pending>>,
    in_flight: Semaphore,
    clients: Mutex<HashMap<IpAddr, usize>>,
    changes: mpsc::Sender<Arc<Resolvers>>,
}

/// The next step for a message.
#[derive(Debug)]
pub(super) enum Step {
    /// This reply, if any.
    Done(Option<Vec<u8>>),
    Forward(Box<ForwardedQuery>),
}

/// No task panics while it holds a lock, so a poisoned lock holds valid data too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// A service. `changes` receives the host's resolvers when they are first used and when they change.
    #[must_use]
    pub fn new(
        responder: Responder,
        host: HostResolvers,
        changes: mpsc::Sender<Arc<Resolvers>>,
    ) -> Self {
        Self {
            responder: Mutex::new(responder),
            host: Mutex::new(host),
            upstream: Upstream::default(),
            pending: Mutex::default(),
            in_flight: Semaphore::new(IN_FLIGHT),
            clients: Mutex::default(),
            changes,
        }
    }

    /// Replaces the zone.
    pub fn set_zone(&self, zone: Zone) {
        lock(&self.responder).set_zone(zone);
    }

    /// The suffixes of names that were cut off, why, and when that was last.
    #[must_use]
    pub fn cut_off(&self) -> Vec<(String, CutOff, SystemTime)> {
        lock(&self.responder).cut_off()
    }

    /// Answers a message at once, or returns the query to forward.
    pub(super) fn receive(&self, bytes: &[u8], by: Protocol, forwards: bool) -> Step {
        // Empties the cache first when the host has other resolvers.
        self.resolvers();
        match lock(&self.responder).receive(Instant::now(), bytes, by, forwards) {
            Action::Drop => Step::Done(None),
            Action::Reply(reply) => Step::Done(Some(reply)),
            Action::Forward(query) => Step::Forward(query),
        }
    }

    /// Asks the host's resolvers and returns the reply.
    pub(super) async fn forward(&self, query: &ForwardedQuery, client: IpAddr) -> Vec<u8> {
        let Some(_counted) = InFlight::new(&self.clients, client) else {
            return query.reply(&Resolution::failed("too many questions at a time"), 0);
        };
        let resolvers = self.resolvers();
        let pending = Arc::clone(lock(&self.pending).entry(query.key.clone()).or_default());
        let resolution = pending
            .get_or_init(|| self.resolve(&resolvers, query))
            .await;
        let reply = query.reply(resolution, 0);
        let mut all = lock(&self.pending);
        if all
            .get(&query.key)
            .is_some_and(|p| Arc::ptr_eq(p, &pending))
        {
            all.remove(&query.key);
        }
        reply
    }

    async fn resolve(&self, resolvers: &Resolvers, query: &ForwardedQuery) -> Arc<Resolution> {
        let failed =
            |why: &str| lock(&self.responder).keep(Instant::now(), query, Resolution::failed(why));
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return failed("too many questions at a time");
        };
        match within_bounds(self.upstream.ask(resolvers, query)).await {
            Some(Ok(answer)) => lock(&self.responder).resolve(Instant::now(), query, &answer),
            Some(Err(why)) => failed(&why),
            None => failed("no answer in time"),
        }
    }

    /// The host's current resolvers. A change empties the cache: behind a VPN names have other answers.
    fn resolvers(&self) -> Arc<Resolvers> {
        let (resolvers, changed) = lock(&self.host).current(Instant::now());
        if changed {
            lock(&self.responder).forget();
            // A full channel loses the notice.
            let _full = self.changes.try_send(Arc::clone(&resolvers));
        }
        resolvers
    }
}

/// Counts a client's question while it is under way.
struct InFlight<'a> {
    clients: &'a Mutex<HashMap<IpAddr, usize>>,
    client: IpAddr,
}

impl<'a> InFlight<'a> {
    fn new(clients: &'a Mutex<HashMap<IpAddr, usize>>, client: IpAddr) -> Option<Self> {
        let mut all = lock(clients);
        let count = all.entry(client).or_default();
        if *count >= IN_FLIGHT_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { clients, client })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut all = lock(self.clients);
        if let Some(count) = all.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.client);
            }
        }
    }
}

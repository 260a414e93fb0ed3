//! One core for all sockets: its questions go to the host's resolvers, each only once at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore, mpsc};

use super::cache::Key;
use super::core::{Action, Ask, Core, Settled, Transport};
use super::resolv_conf::{HostResolvers, Resolvers};
use super::upstream::{Upstream, within_bounds};

/// Questions that are asked of resolvers at a time, and those of one client.
const IN_FLIGHT: usize = 256;
const IN_FLIGHT_OF_ONE: usize = 96;

type Pending = Arc<OnceCell<Arc<Settled>>>;

/// A name server without its sockets; all of a cluster's networks share one.
#[derive(Debug)]
pub struct Service {
    core: Mutex<Core>,
    host: Mutex<HostResolvers>,
    upstream: Upstream,
    pending: Mutex<HashMap<Key, Pending>>,
    in_flight: Semaphore,
    clients: Mutex<HashMap<IpAddr, usize>>,
    told: mpsc::Sender<Arc<Resolvers>>,
}

/// What a message calls for.
#[derive(Debug)]
pub(super) enum Step {
    Done(Option<Vec<u8>>),
    Ask(Box<Ask>),
}

/// No task of ours panics with a lock held; if one did, what it holds is whole still.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// A service; `told` hears of the host's resolvers when they are first used and when they change.
    #[must_use]
    pub fn new(core: Core, host: HostResolvers, told: mpsc::Sender<Arc<Resolvers>>) -> Self {
        Self {
            core: Mutex::new(core),
            host: Mutex::new(host),
            upstream: Upstream::default(),
            pending: Mutex::default(),
            in_flight: Semaphore::new(IN_FLIGHT),
            clients: Mutex::default(),
            told,
        }
    }

    /// Serves other names from now on.
    pub fn set_zone(&self, zone: super::Zone) {
        lock(&self.core).set_zone(zone);
    }

    /// What to do with a message; at once.
    pub(super) fn receive(&self, bytes: &[u8], by: Transport, forwards: bool) -> Step {
        // What is kept may be of others than are the host's resolvers by now.
        self.resolvers();
        match lock(&self.core).receive(Instant::now(), bytes, by, forwards) {
            Action::Drop => Step::Done(None),
            Action::Reply(reply) => Step::Done(Some(reply)),
            Action::Ask(ask) => Step::Ask(ask),
        }
    }

    /// The reply to a question that others know the answer of.
    pub(super) async fn forward(&self, ask: &Ask, client: IpAddr) -> Vec<u8> {
        let Some(_counted) = Counted::new(&self.clients, client) else {
            return ask.reply(&Settled::failed("too many questions at a time"), 0);
        };
        let resolvers = self.resolvers();
        let pending = Arc::clone(lock(&self.pending).entry(ask.key.clone()).or_default());
        let settled = pending.get_or_init(|| self.settle(&resolvers, ask)).await;
        let reply = ask.reply(settled, 0);
        let mut all = lock(&self.pending);
        if all.get(&ask.key).is_some_and(|p| Arc::ptr_eq(p, &pending)) {
            all.remove(&ask.key);
        }
        reply
    }

    async fn settle(&self, resolvers: &Resolvers, ask: &Ask) -> Arc<Settled> {
        let failed = |why: &str| lock(&self.core).keep(Instant::now(), ask, Settled::failed(why));
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return failed("too many questions at a time");
        };
        match within_bounds(self.upstream.ask(resolvers, ask)).await {
            Some(Ok(answer)) => lock(&self.core).settle(Instant::now(), ask, &answer),
            Some(Err(why)) => failed(&why),
            None => failed("no answer in time"),
        }
    }

    /// Whom to ask now. What others said before them is forgotten: behind a VPN names have other answers.
    fn resolvers(&self) -> Arc<Resolvers> {
        let (resolvers, changed) = lock(&self.host).current(Instant::now());
        if changed {
            lock(&self.core).forget();
            // Nobody is owed a word.
            let _full = self.told.try_send(Arc::clone(&resolvers));
        }
        resolvers
    }
}

/// A client's question under way.
struct Counted<'a> {
    clients: &'a Mutex<HashMap<IpAddr, usize>>,
    client: IpAddr,
}

impl<'a> Counted<'a> {
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

impl Drop for Counted<'_> {
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

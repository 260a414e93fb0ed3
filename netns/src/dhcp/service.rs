//! The loop of a server. It reads requests and sends replies. It writes leases to disk before it promises them, and probes
//! addresses before it offers them. It never waits for the disk or for a probe while there is a request.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::clock::now;
use super::conflict::observe_arp;
use super::handle::{Outcome, handle};
use super::lease_file::LeaseFile;
use super::notice::{Notice, NoticeKind};
use super::reply::Reply;
use super::sockets::{ServerError, Sockets};
use super::table::Table;
use crate::arp;

/// Most requests that are handled before the loop looks at its other work.
const TURN: usize = 64;
/// How long the answer to a probe may take; an emulated guest on a busy host needs milliseconds.
const PROBE_TIME: Duration = Duration::from_millis(200);
/// Most requests that wait for probes. Others get no reply, and their clients ask again.
const MOST_WAITING: usize = 4096;
/// Most replies that wait for the disk, as many as come in a second or two. Others are lost, and their clients ask again.
const MOST_HELD: usize = 16_384;
/// Most delayed replies and early probes that the server sends at a time, and the pause until the next ones. All at once
/// would overflow the socket of a relay, or of a station that receives them all.
const BURST: usize = 32;
const PAUSE: Duration = Duration::from_millis(1);
/// How many probes of addresses in use a request waits for.
const ROUNDS: u8 = 4;

/// A report of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to a client.
    Client(Notice),
    /// The server cannot write the leases to disk. It gives them nevertheless.
    Unsaved {
        /// The file and the system's error.
        reason: String,
    },
    /// The leases are on disk again.
    Saved,
}

/// The state of the lease file.
#[derive(Debug)]
enum Disk {
    /// There is none.
    None,
    Idle(LeaseFile),
    Busy(JoinHandle<(LeaseFile, std::io::Result<()>)>),
}

/// A request that waits for the probe of its address.
#[derive(Debug)]
struct Waiting {
    packet: Vec<u8>,
    rounds: u8,
}

#[derive(Debug)]
pub(super) struct Service {
    sockets: Sockets,
    address: Ipv4Addr,
    table: Arc<Mutex<Table>>,
    events: mpsc::Sender<Event>,
    disk: Disk,
    is_unsaved: bool,
    /// Replies whose leases are being written.
    committing: Vec<Reply>,
    /// Replies whose leases are in the next batch.
    held: Vec<Reply>,
    /// Delayed replies and early probes, which are sent a few at a time.
    delayed: VecDeque<Reply>,
    early: VecDeque<Ipv4Addr>,
    /// When the next of them are sent.
    next: Instant,
    /// Probes under way, each with the end of its time.
    probes: VecDeque<(Instant, Ipv4Addr)>,
    in_flight: HashSet<Ipv4Addr>,
    waiting: HashMap<Ipv4Addr, Waiting>,
}

impl Service {
    pub(super) fn new(
        sockets: Sockets,
        table: Arc<Mutex<Table>>,
        events: mpsc::Sender<Event>,
        lease_file: Option<LeaseFile>,
    ) -> Self {
        let address = lock(&table).config.server;
        Self {
            sockets,
            address,
            table,
            events,
            disk: lease_file.map_or(Disk::None, Disk::Idle),
            is_unsaved: false,
            committing: Vec::new(),
            held: Vec::new(),
            delayed: VecDeque::new(),
            early: VecDeque::new(),
            next: Instant::now(),
            probes: VecDeque::new(),
            in_flight: HashSet::new(),
            waiting: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(), ServerError> {
        let mut frame = [0; 64];
        loop {
            self.early.extend(lock(&self.table).start_probes(now()));
            self.save();
            let is_behind = !(self.delayed.is_empty() && self.early.is_empty());
            let over = self.probes.front().map(|(until, _)| *until);
            tokio::select! {
                ready = self.sockets.wait_for_request() => {
                    ready?;
                    self.handle_requests()?;
                }
                length = self.sockets.receive_arp(&mut frame) => {
                    self.observe(frame.get(..length).unwrap_or_default());
                }
                done = committed(&mut self.disk) => self.saved(done),
                () = sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => self.end_probes(),
                () = sleep_until(self.next), if is_behind => self.send_some(),
            }
        }
    }

    fn handle_requests(&mut self) -> Result<(), ServerError> {
        let mut packet = [0; 2048];
        for _ in 0..TURN {
            let Some(length) = self.sockets.receive_request(&mut packet)? else {
                break;
            };
            self.handle(packet.get(..length).unwrap_or_default(), 0);
        }
        Ok(())
    }

    fn handle(&mut self, packet: &[u8], rounds: u8) {
        let outcome = handle(&mut lock(&self.table), now(), packet);
        let Outcome {
            reply,
            notices,
            probe,
        } = outcome;
        if let Some(address) = probe {
            let is_known = self.waiting.contains_key(&address);
            let has_room = is_known || self.waiting.len() < MOST_WAITING;
            if reply.is_none() && notices.is_empty() && rounds < ROUNDS && has_room {
                let packet = packet.to_vec();
                self.waiting.insert(address, Waiting { packet, rounds });
            }
            self.probe(address);
        }
        for notice in notices {
            self.report(notice);
        }
        if let Some(reply) = reply {
            self.reply(reply, rounds > 0);
        }
    }

    /// Reports a notice unless the channel is full: the server does not wait. Notices about other clients than nodes leave
    /// half of the channel free.
    fn report(&self, notice: Notice) {
        use NoticeKind::{Declined, InUse, SharedIdentifier};
        let matters =
            notice.hostname.is_some() || matches!(notice.kind, Declined | InUse | SharedIdentifier);
        if matters || self.events.capacity() > self.events.max_capacity() / 2 {
            let _full = self.events.try_send(Event::Client(notice));
        }
    }

    /// Sends a reply, or holds it until its lease is on disk. A late reply is sent with the delayed ones.
    fn reply(&mut self, reply: Reply, is_late: bool) {
        let must_wait = match self.disk {
            Disk::None => false,
            Disk::Busy(_) => true,
            Disk::Idle(_) => lock(&self.table).has_changes(),
        };
        if reply.promises && must_wait {
            if self.held.len() < MOST_HELD {
                self.held.push(reply);
            }
        } else if is_late {
            self.delayed.push_back(reply);
        } else {
            self.sockets.send(&reply, self.address);
        }
    }

    /// Writes changed leases unless a write is under way.
    fn save(&mut self) {
        let mut file = match std::mem::replace(&mut self.disk, Disk::None) {
            Disk::Idle(file) => file,
            other => {
                self.disk = other;
                return;
            }
        };
        let batch = file.batch(&mut lock(&self.table));
        self.committing.append(&mut self.held);
        self.disk = match batch {
            Some(batch) => Disk::Busy(tokio::task::spawn_blocking(move || {
                let written = file.commit(batch);
                (file, written)
            })),
            None => {
                // A write failed a moment ago: the server gives the leases without it.
                self.delayed.extend(self.committing.drain(..));
                Disk::Idle(file)
            }
        };
    }

    fn send_some(&mut self) {
        for reply in self.delayed.drain(..self.delayed.len().min(BURST)) {
            self.sockets.send(&reply, self.address);
        }
        let early: Vec<_> = self.early.drain(..self.early.len().min(BURST)).collect();
        for address in early {
            // Meanwhile a client may have got the address.
            if lock(&self.table).is_probing(address) {
                self.probe(address);
            }
        }
        self.next = Instant::now() + PAUSE;
    }

    /// Handles the end of a write.
    fn saved(&mut self, done: Option<(LeaseFile, std::io::Result<()>)>) {
        self.delayed.extend(self.committing.drain(..));
        if self.next <= Instant::now() {
            self.send_some();
        }
        let Some((file, written)) = done else {
            self.disk = Disk::None;
            return;
        };
        if written.is_err() != self.is_unsaved {
            self.is_unsaved = written.is_err();
            let event = match written {
                Ok(()) => Event::Saved,
                Err(e) => Event::Unsaved {
                    reason: format!("{}: {e}", file.path().display()),
                },
            };
            let _full = self.events.try_send(event);
        }
        self.disk = Disk::Idle(file);
    }

    /// Probes an address unless a probe of it is under way.
    fn probe(&mut self, address: Ipv4Addr) {
        if self.in_flight.insert(address) {
            self.sockets.probe(address);
            self.probes
                .push_back((Instant::now() + PROBE_TIME, address));
        }
    }

    /// Ends the probes whose time is over without an answer.
    fn end_probes(&mut self) {
        let until = Instant::now();
        while let Some((over, address)) = self.probes.front().copied()
            && over <= until
        {
            self.probes.pop_front();
            self.in_flight.remove(&address);
            lock(&self.table).unanswered(address, now());
            self.handle_again(address);
        }
    }

    fn observe(&mut self, frame: &[u8]) {
        let notice = observe_arp(&mut lock(&self.table), now(), frame);
        if let Some(notice) = notice {
            self.report(notice);
        }
        if let Some((_, address)) = arp::sender(frame)
            && !lock(&self.table).is_probing(address)
        {
            self.handle_again(address);
        }
    }

    /// Handles again the request that waited for the probe of an address.
    fn handle_again(&mut self, address: Ipv4Addr) {
        if let Some(Waiting { packet, rounds }) = self.waiting.remove(&address) {
            self.handle(&packet, rounds + 1);
        }
    }
}

/// Waits for the end of a write; for ever when none is under way. `None` if the write was aborted, as when the program
/// ends.
async fn committed(disk: &mut Disk) -> Option<(LeaseFile, std::io::Result<()>)> {
    match disk {
        Disk::Busy(writing) => writing.await.ok(),
        _ => std::future::pending().await,
    }
}

/// No task panics while it holds the table, so a poisoned lock holds valid data too.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

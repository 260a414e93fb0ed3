//! The loop: requests in, replies out, leases on disk before they are promised, addresses asked for before
//! they are offered. It never waits for the disk or for an answer while there is a request.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::handle::{Notice, NoticeKind, Outcome, Reply, handle};
use super::server::{Server, ServerError};
use super::{LeaseFile, Table, heard, now};
use crate::arp;

/// Requests handled between two looks at everything else.
const TURN: usize = 64;
/// How long an answer by ARP may take. A guest that is emulated on a busy host needs milliseconds.
const PATIENCE: Duration = Duration::from_millis(200);
/// Requests that wait for addresses to be asked for; more are met with silence and come again.
const MOST_WAITING: usize = 4096;
/// Replies that wait for the disk, a second or two of them; more are lost and asked for again.
const MOST_HELD: usize = 16_384;
/// Frames sent at a time of those that nobody waits for in this moment, replies that were held up and questions ahead of
/// clients, and the pause until the next ones: all at once would be more than a relay's socket holds, or any that hears them
/// all.
const BURST: usize = 32;
const BREATH: Duration = Duration::from_millis(1);
/// How many addresses that turn out to be in use a request is kept waiting for.
const ROUNDS: u8 = 4;

/// What is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened with a client.
    Client(Notice),
    /// The leases could not be written to disk; they are served nevertheless.
    Unsaved {
        /// The file and the system's word.
        reason: String,
    },
    /// The leases are on disk again.
    Saved,
}

/// Where the leases are written.
#[derive(Debug)]
enum Disk {
    /// Nowhere.
    None,
    Idle(LeaseFile),
    Busy(JoinHandle<(LeaseFile, std::io::Result<()>)>),
}

/// A request that waits until its address is asked for.
#[derive(Debug)]
struct Waiting {
    packet: Vec<u8>,
    rounds: u8,
}

#[derive(Debug)]
pub(super) struct Service {
    server: Server,
    address: Ipv4Addr,
    table: Arc<Mutex<Table>>,
    events: mpsc::Sender<Event>,
    disk: Disk,
    is_unsaved: bool,
    /// Replies that go out when the batch that is being written is on disk, and those of the one after.
    committing: Vec<Reply>,
    held: Vec<Reply>,
    /// Those that are on disk, or had to wait for their address, and addresses to be asked for: they go out by and by.
    going: VecDeque<Reply>,
    asking: VecDeque<Ipv4Addr>,
    /// When the next ones may.
    next: Instant,
    asked: VecDeque<(Instant, Ipv4Addr)>,
    in_flight: HashSet<Ipv4Addr>,
    waiting: HashMap<Ipv4Addr, Waiting>,
}

impl Service {
    pub(super) fn new(
        server: Server,
        table: Arc<Mutex<Table>>,
        events: mpsc::Sender<Event>,
        lease_file: Option<LeaseFile>,
    ) -> Self {
        let address = lock(&table).config.server;
        Self {
            server,
            address,
            table,
            events,
            disk: lease_file.map_or(Disk::None, Disk::Idle),
            is_unsaved: false,
            committing: Vec::new(),
            held: Vec::new(),
            going: VecDeque::new(),
            asking: VecDeque::new(),
            next: Instant::now(),
            asked: VecDeque::new(),
            in_flight: HashSet::new(),
            waiting: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(), ServerError> {
        let mut frame = [0; 64];
        loop {
            self.asking.extend(lock(&self.table).due(now()));
            self.save();
            let is_behind = !(self.going.is_empty() && self.asking.is_empty());
            let over = self.asked.front().map(|(until, _)| *until);
            tokio::select! {
                ready = self.server.requested() => {
                    ready?;
                    self.requests()?;
                }
                length = self.server.spoken(&mut frame) => {
                    self.listen(frame.get(..length).unwrap_or_default());
                }
                done = committed(&mut self.disk) => self.saved(done),
                () = sleep_until(over.unwrap_or_else(Instant::now)), if over.is_some() => self.silence(),
                () = sleep_until(self.next), if is_behind => self.send_some(),
            }
        }
    }

    fn requests(&mut self) -> Result<(), ServerError> {
        let mut packet = [0; 2048];
        for _ in 0..TURN {
            let Some(length) = self.server.request(&mut packet)? else {
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
            self.ask(address);
        }
        for notice in notices {
            self.tell(notice);
        }
        if let Some(reply) = reply {
            self.reply(reply, rounds > 0);
        }
    }

    /// Nobody is owed an event; the server must not wait. Strangers without number leave room for the nodes.
    fn tell(&self, notice: Notice) {
        use NoticeKind::{Declined, InUse, SharedIdentifier};
        let matters =
            notice.hostname.is_some() || matches!(notice.kind, Declined | InUse | SharedIdentifier);
        if matters || self.events.capacity() > self.events.max_capacity() / 2 {
            let _full = self.events.try_send(Event::Client(notice));
        }
    }

    /// Sends a reply, or keeps it until what it promises is on disk. One of many that come at once has its turn.
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
            self.going.push_back(reply);
        } else {
            self.server.send(&reply, self.address);
        }
    }

    /// Writes what has changed, if nothing is being written.
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
                // The disk refused just now: that costs the file, not the service.
                self.going.extend(self.committing.drain(..));
                Disk::Idle(file)
            }
        };
    }

    fn send_some(&mut self) {
        for reply in self.going.drain(..self.going.len().min(BURST)) {
            self.server.send(&reply, self.address);
        }
        for address in self
            .asking
            .drain(..self.asking.len().min(BURST))
            .collect::<Vec<_>>()
        {
            // A client may have come for it in between, and have been answered.
            if lock(&self.table).is_asked(address) {
                self.ask(address);
            }
        }
        self.next = Instant::now() + BREATH;
    }

    fn saved(&mut self, done: Option<(LeaseFile, std::io::Result<()>)>) {
        self.going.extend(self.committing.drain(..));
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

    /// Asks who has an address, unless that is being asked.
    fn ask(&mut self, address: Ipv4Addr) {
        if self.in_flight.insert(address) {
            self.server.ask(address);
            self.asked.push_back((Instant::now() + PATIENCE, address));
        }
    }

    /// The time for answers is over for the first ones asked for.
    fn silence(&mut self) {
        let until = Instant::now();
        while let Some((over, address)) = self.asked.front().copied()
            && over <= until
        {
            self.asked.pop_front();
            self.in_flight.remove(&address);
            lock(&self.table).silent(address, now());
            self.again(address);
        }
    }

    fn listen(&mut self, frame: &[u8]) {
        let notice = heard(&mut lock(&self.table), now(), frame);
        if let Some(notice) = notice {
            self.tell(notice);
        }
        if let Some((_, address)) = arp::sender(frame)
            && !lock(&self.table).is_asked(address)
        {
            self.again(address);
        }
    }

    /// Handles the request again that waited for an address.
    fn again(&mut self, address: Ipv4Addr) {
        if let Some(Waiting { packet, rounds }) = self.waiting.remove(&address) {
            self.handle(&packet, rounds + 1);
        }
    }
}

/// Waits for the disk; for ever when nothing is being written. None if the writing broke off, which it does only
/// when the program ends.
async fn committed(disk: &mut Disk) -> Option<(LeaseFile, std::io::Result<()>)> {
    match disk {
        Disk::Busy(writing) => writing.await.ok(),
        _ => std::future::pending().await,
    }
}

/// Nothing panics while it holds the table.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

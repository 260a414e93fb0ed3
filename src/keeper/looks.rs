//! Looks again at what made nodes ready: their ports, routes, addresses, sshd, host keys and agents. What the keeper cannot
//! restore goes to the board.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_netns::{Knock, Links};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::again;
use super::agents::Agents;
use super::contact::{self, Contact};
use super::host_keys::HostKeys;
use super::plugs::{self, Repairs};
use super::served::Served;
use crate::ids::now;
use crate::model::{Board, EventKind, Fault, NodeView, Stage};
use crate::network::{Restored, bridge};
use crate::output;
use crate::state::{ClusterRecord, Lock, NodeRecord, Phase, read_json, replace_json_unsynced};

/// Interval between looks at the host's links and routes, which cost some questions to the kernel.
const LOOK: Duration = Duration::from_secs(3);
/// Interval between questions to the nodes, which cost each two packets.
const ASK: Duration = Duration::from_secs(5);

/// Least time between two starts of the keeper because of a bridge.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks until the keeper ends.
pub(super) async fn run(served: Arc<Served>) {
    let links = match Links::open() {
        Ok(links) => links,
        Err(e) => return output::error(&e.into()),
    };
    let mut looks = Looks {
        served,
        links,
        repairs: Repairs::default(),
        contacts: BTreeMap::new(),
        keys: HostKeys::default(),
        agents: Agents::default(),
        asking: None,
        asked: None,
        answered: Arc::default(),
        record: None,
        ports: BTreeMap::new(),
        bound: BTreeMap::new(),
    };
    let mut told = String::new();
    loop {
        let began = Instant::now();
        match looks.look().await {
            Ok(()) => told.clear(),
            // Into keeper.log, once.
            Err(e) if told != format!("{e:#}") => {
                told = format!("{e:#}");
                output::error(&e);
            }
            Err(_) => {}
        }
        // A host with very many links, routes or rules is looked at more rarely.
        let pause = (4 * began.elapsed()).clamp(LOOK, 10 * LOOK);
        tokio::select! {
            () = sleep(pause) => {}
            () = looks.answered.notified() => {}
        }
    }
}

struct Looks {
    served: Arc<Served>,
    links: Links,
    repairs: Repairs,
    /// What was last heard of each node.
    contacts: BTreeMap<String, Contact>,
    keys: HostKeys,
    agents: Agents,
    asking: Option<JoinHandle<Result<Heard>>>,
    /// When the nodes were last asked, and whether they have answered.
    asked: Option<Instant>,
    answered: Arc<Notify>,
    /// The record, and the state of its file when it was read.
    record: Option<(Metadata, Arc<ClusterRecord>)>,
    /// The faults of ports at the last look. While a verb works, they stay as they were.
    ports: BTreeMap<String, Vec<Fault>>,
    /// The indexes of the bridges at the first look, which the keeper's sockets are bound to.
    bound: BTreeMap<String, u32>,
}

/// What ready nodes and their agents answered.
struct Heard {
    contacts: BTreeMap<String, Contact>,
    agents: Agents,
}

impl Looks {
    /// One look. Where that is due it asks the nodes, too; their answers are heard at a later one.
    async fn look(&mut self) -> Result<()> {
        let board = self.served.status.board();
        let Some(record) = self.record()? else {
            return Ok(());
        };
        // While a verb works on the cluster, its objects come and go.
        let is_at_rest = Lock::holder(&self.served.dir).is_none();
        if !matches!(record.phase, Phase::Starting | Phase::Up) {
            return Ok(());
        }
        let running: Vec<_> = nodes(&record, &board, is_running).collect();
        let ready: Vec<_> = nodes(&record, &board, is_ready).collect();
        let mut problem = None;
        if is_at_rest {
            let plugs = plugs::look(&record, &running, &self.links, &mut self.repairs).await?;
            self.tell_restored(plugs.restored);
            (self.ports, problem) = (plugs.faults, plugs.problem);
        }
        let is_running = |name: &String| running.iter().any(|node| node.name == *name);
        self.ports.retain(|name, _| is_running(name));
        let mut detours = BTreeMap::new();
        let bridges = plugs::bridges(&record, &self.links).await?;
        if self.bound.is_empty() {
            self.bound.clone_from(&bridges);
        }
        // One that was made anew has the same name, but none of the keeper's sockets.
        let lost = self
            .bound
            .iter()
            .filter(|(name, index)| bridges.get(*name) != Some(index));
        let lost: Vec<_> = lost.map(|(name, _)| name.clone()).collect();
        if record.phase == Phase::Up && !lost.is_empty() && is_at_rest {
            return self.start_again(&record, &lost).await;
        }
        for node in &ready {
            let faults = plugs::detours(&record, node, &bridges, &self.links).await?;
            if !faults.is_empty() {
                detours.insert(node.name.clone(), faults);
            }
        }
        if self.asking.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(asking) = self.asking.take()
        {
            let heard = asking.await.context("a task of the keeper panicked")??;
            self.hear(heard, &ready, &detours);
        }
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= ASK);
        if is_due && self.asking.is_none() {
            self.asked = Some(Instant::now());
            self.asking = Some(self.ask(Arc::clone(&record), &ready));
        }
        // A node that boots again has nothing to do with what was heard before.
        let is_still = |name: &String| ready.iter().any(|node| node.name == *name);
        self.contacts.retain(|name, _| is_still(name));
        self.keys.forget(is_still);
        self.agents.forget(is_still);
        for node in &ready {
            self.keys.hear(&self.served.dir, node);
        }
        for node in &record.nodes {
            let mut faults = self.ports.get(&node.name).cloned().unwrap_or_default();
            if ready.iter().any(|r| r.name == node.name) {
                let detours = detours.remove(&node.name).unwrap_or_default();
                self.complete(&record, node, &mut faults, detours);
            }
            self.served.status.set_faults(&node.name, faults);
        }
        problem.map_or(Ok(()), Err)
    }

    /// Asks the ready nodes and their agents, in a task: their answers may take long, and ports are restored meanwhile.
    fn ask(&self, record: Arc<ClusterRecord>, ready: &[&NodeRecord]) -> JoinHandle<Result<Heard>> {
        let (links, served) = (self.links.clone(), Arc::clone(&self.served));
        let ready: Vec<_> = ready.iter().copied().cloned().collect();
        let (mut agents, answered) = (self.agents.clone(), Arc::clone(&self.answered));
        tokio::spawn(async move {
            let ready: Vec<_> = ready.iter().collect();
            let (contacts, ()) = tokio::join!(
                contact::look(&record, &ready, &links),
                agents.look(&served, &record, &ready)
            );
            answered.notify_one();
            let contacts = contacts?;
            Ok(Heard { contacts, agents })
        })
    }

    /// The record, which is read again only when its file is another.
    fn record(&mut self) -> Result<Option<Arc<ClusterRecord>>> {
        let path = self.served.dir.record();
        let Ok(now) = std::fs::metadata(path) else {
            return Ok(None);
        };
        let mark = |m: &Metadata| (m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        if let Some((before, record)) = &self.record
            && mark(before) == mark(&now)
        {
            return Ok(Some(Arc::clone(record)));
        }
        let record = ClusterRecord::load(&self.served.dir)?.map(Arc::new);
        self.record = record.clone().map(|record| (now, record));
        Ok(record)
    }

    /// Takes what was heard, and asks for an sshd's key where something has changed.
    fn hear(
        &mut self,
        heard: Heard,
        ready: &[&NodeRecord],
        detours: &BTreeMap<String, Vec<Fault>>,
    ) {
        self.agents = heard.agents;
        for node in ready {
            let name = &node.name;
            let (before, now) = (self.contacts.get(name), heard.contacts.get(name));
            let is_reached = now.is_some_and(|c| c.knock == Some(Knock::Open));
            let was_reached = before.is_none_or(|c| c.knock == Some(Knock::Open));
            // Through a detour, another machine would answer.
            if is_reached && !detours.contains_key(name) {
                let mark = self.agents.sshd(name);
                self.keys.ask(node, !was_reached, mark, &self.answered);
            }
        }
        self.contacts = heard.contacts;
    }

    /// Adds what is known of a ready node to the faults of its ports. A fault that explains others hides them.
    fn complete(
        &self,
        record: &ClusterRecord,
        node: &NodeRecord,
        faults: &mut Vec<Fault>,
        detours: Vec<Fault>,
    ) {
        if faults.is_empty() {
            let contact = self.contacts.get(&node.name);
            let mut heard = contact.map_or_else(Vec::new, |c| contact::faults(record, node, c));
            if !detours.is_empty() {
                // ssh goes by the detour, ARP does not.
                heard.retain(|fault| !matches!(fault, Fault::Ssh { .. }));
            }
            faults.extend(detours);
            faults.extend(heard);
            if faults.is_empty() {
                faults.extend(self.keys.fault(&node.name));
            }
        }
        faults.extend(self.agents.fault(&node.name));
    }

    /// Makes bridges that are gone. The keeper's sockets are bound to those that were, so it starts again.
    async fn start_again(&self, record: &ClusterRecord, gone: &[String]) -> Result<()> {
        let words: Vec<_> = gone
            .iter()
            .map(|name| format!("the bridge {name}, which was gone"))
            .collect();
        // Each start costs all connections, so a program that removes the bridge again is not fought with.
        let last = read_json::<Restored>(&self.served.dir.links())
            .ok()
            .flatten();
        let is_again = last.is_some_and(|last| {
            (now() as u64) < last.time + AGAIN.as_secs()
                && words.iter().any(|word| last.what.contains(word))
        });
        if is_again {
            bail!(
                "another program removes {} again and again",
                gone.join(", ")
            );
        }
        for network in record.networks().filter(|n| gone.contains(&n.bridge)) {
            bridge::prepare(network, &self.served.dir, &self.links).await?;
        }
        self.tell_restored(words);
        // Otherwise a program that makes keys would stay.
        drop(self.served.keys.lock().map(|mut keys| keys.take()));
        Err(again::start(&self.served.dir, &record.spec.name))
    }

    /// Writes down what was restored, for `status` and the events.
    fn tell_restored(&self, what: Vec<String>) {
        if what.is_empty() {
            return;
        }
        let note = format!(
            "restored what another program had changed: {}",
            what.join(", ")
        );
        self.served.status.event("", EventKind::Link, &note);
        let path = self.served.dir.links();
        let before = read_json::<Restored>(&path).ok().flatten();
        let restored = plugs::counted(before, what, now() as u64);
        if let Err(e) = replace_json_unsynced(&path, &restored, 0o600) {
            output::error(&e);
        }
    }
}

fn nodes<'a>(
    record: &'a ClusterRecord,
    board: &Board,
    which: impl Fn(&NodeView) -> bool,
) -> impl Iterator<Item = &'a NodeRecord> {
    let is_it = move |node: &&NodeRecord| board.get(&node.name).is_some_and(&which);
    record.nodes.iter().filter(is_it)
}

fn is_running(view: &NodeView) -> bool {
    view.stage < Stage::Ended && !view.stopping
}

/// Whether a node is to answer. A paused one is told of by itself.
fn is_ready(view: &NodeView) -> bool {
    view.stage == Stage::Ready && view.paused.is_none() && !view.stopping
}

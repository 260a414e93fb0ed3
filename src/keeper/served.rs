//! State that the keeper's tasks share, and the requests that change it: reading the record again, ending nodes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::agent::{PowerMode, Request as _, Shutdown};
use kvmc_qmp::{Client, ExecuteError};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::attend::End;
use super::attended::{Attended, Connections, Restoring};
use super::awake::{JOURNAL, RESUME};
use super::console::Console;
use super::dns::Names;
use super::forward::Forwards;
use super::reservations::Reservations;
use super::respawn::respawn;
use super::restarts::{Decision, Restarts};
use super::standby::Standby;
use super::status::Status;
use crate::host::cores;
use crate::ids::{random_id, uuid};
use crate::model::{Cause, EventKind};
use crate::node::{Ended, Filling, Identity};
use crate::state::{ClusterDir, ClusterRecord, Restoration, read_json};
use crate::warm;

/// Longest time that a guest's agent takes to acknowledge.
const ASK_GUEST: Duration = Duration::from_secs(3);
/// Longest time that QEMU takes to say whether it is paused. Together with [`ASK_GUEST`] it fits into the CLI's wait
/// for an answer.
const ASK_PAUSED: Duration = Duration::from_secs(1);

/// Longest time for the keeper's tasks to leave QEMUs, and interval between looks whether they have.
const LEAVE: Duration = Duration::from_secs(2);
const LEAVE_LOOK: Duration = Duration::from_millis(1);

/// State that all the keeper's tasks share.
#[derive(Debug)]
pub(super) struct Served {
    /// The state folder, with images and frozen machines.
    pub(super) root: PathBuf,
    pub(super) dir: ClusterDir,
    pub(super) status: Status,
    pub(super) reservations: Vec<Reservations>,
    pub(super) names: Names,
    pub(super) forwards: Forwards,
    pub(super) connections: Mutex<BTreeMap<String, watch::Receiver<Connections>>>,
    /// The consoles, which last longer than connections.
    pub(super) consoles: Mutex<BTreeMap<String, Console>>,
    pub(super) restarts: Mutex<BTreeMap<String, Restarts>>,
    /// Host keys for the next cluster.
    pub(super) keys: Mutex<Option<Filling>>,
    /// How the nodes are restored that QEMUs start for now.
    pub(super) restoring: Mutex<Option<Restoring>>,
    /// True for the moment in which the keeper leaves all QEMUs that it attends.
    pub(super) leaving: watch::Sender<bool>,
    /// What stands by, if the keeper waits for the end of whom it is for.
    pub(super) watched: Mutex<Option<Standby>>,
    /// Held while all guests are paused or restored, which only one verb does at a time.
    pub(super) standstill: tokio::sync::Mutex<()>,
}

impl Served {
    /// Reads the record again: reserves addresses for all nodes, and attends those that run.
    pub(super) fn sync(self: &Arc<Self>) -> Result<()> {
        let Some(record) = ClusterRecord::load(&self.dir)? else {
            return Ok(());
        };
        for reservations in &self.reservations {
            reservations.follow(&record);
        }
        self.names.follow(&record);
        self.let_go(&record);
        self.watch_standby()?;
        for (position, node) in record.nodes.iter().enumerate() {
            let dir = self.dir.node(&node.name);
            let process = read_json::<Identity>(&dir.process())?;
            let mut connections = self
                .connections
                .lock()
                .map_err(|_| anyhow::anyhow!("a task of the keeper panicked"))?;
            let attended = is_attended(&connections, &node.name);
            let Some(process) = process.filter(|_| !attended) else {
                continue;
            };
            if process.open().is_none() {
                Ended::record_unseen(&dir, node, &process)?;
                continue;
            }
            let (sender, receiver) = watch::channel(Connections::default());
            connections.insert(node.name.clone(), receiver);
            let mut consoles = self
                .consoles
                .lock()
                .map_err(|_| anyhow::anyhow!("a task of the keeper panicked"))?;
            let console = consoles.entry(node.name.clone());
            let console = console.or_insert_with(|| Console::new(dir.console_log()));
            self.status.begin(&node.name, Some(process.number()));
            let attended = Attended {
                domain: record.spec.domain(),
                cluster_dir: self.dir.clone(),
                dir,
                node: node.clone(),
                networks: record
                    .nics(node)
                    .map(|(network, _)| network.clone())
                    .collect(),
                process: process.clone(),
                boot_id: uuid(&random_id()),
                rest: RESUME.turn(position, &record.accelerator, cores()),
                journal: JOURNAL.turn(position, &record.accelerator, cores()),
                store: warm::Store::open(&self.root),
                console: console.clone(),
                status: self.status.clone(),
                restoring: self.restoring.lock().ok().and_then(|r| r.clone()),
                leaving: self.leaving.subscribe(),
            };
            let state = Arc::clone(self);
            tokio::spawn(async move {
                let name = attended.node.name.clone();
                match attended.run(sender).await {
                    End::Reset => state.restart(&name, &process).await,
                    End::Replaced => {}
                    End::Ended(cause) => state.after(&name, &process, &cause).await,
                }
            });
        }
        Ok(())
    }

    /// Closes the connections to all QEMUs, which go on. Others take their places.
    pub(super) async fn leave_all(&self) -> Result<()> {
        let someone = || {
            let connections = self.connections.lock();
            connections.is_ok_and(|all| all.keys().any(|node| is_attended(&all, node)))
        };
        self.leaving.send_replace(true);
        let leaving = async {
            while someone() {
                tokio::time::sleep(LEAVE_LOOK).await;
            }
        };
        let left = tokio::time::timeout(LEAVE, leaving).await;
        self.leaving.send_replace(false);
        left.context("the keeper does not leave the QEMUs that are to be replaced")
    }

    /// Forgets nodes that were removed.
    fn let_go(&self, record: &ClusterRecord) {
        let is_there = |name: &str| record.node(name).is_ok();
        if let Ok(mut connections) = self.connections.lock() {
            connections.retain(|name, _| is_there(name));
        }
        if let Ok(mut restarts) = self.restarts.lock() {
            restarts.retain(|name, _| is_there(name));
        }
        if let Ok(mut consoles) = self.consoles.lock() {
            consoles.retain(|name, _| is_there(name));
        }
        self.status.keep(is_there);
    }

    /// Reads the record again and serves its forwards.
    pub(super) fn forward(&self) -> Result<()> {
        match ClusterRecord::load(&self.dir)? {
            Some(record) => self.forwards.follow(&record),
            None => Ok(()),
        }
    }

    /// Restarts a node that has ended by itself, if its role's policy says so.
    async fn after(self: &Arc<Self>, node: &str, process: &Identity, cause: &Cause) {
        let policy = ClusterRecord::load(&self.dir).ok().flatten();
        let policy = policy.filter(|r| !r.stopped.contains(node));
        let policy = policy.and_then(|r| Some(r.spec.role(&r.node(node).ok()?.role)?.restart));
        let is_restored = Restoration::decided(&self.dir).is_ok_and(|r| r.is_some());
        if is_restored || !policy.is_some_and(|policy| policy.applies_to(cause)) {
            return;
        }
        let verdict = match self.restarts.lock() {
            Ok(mut all) => all
                .entry(node.to_owned())
                .or_default()
                .ended(Instant::now()),
            Err(_) => return,
        };
        match verdict {
            Decision::Again(wait) => {
                let note = format!("{cause}; the keeper restarts it in {} s", wait.as_secs());
                self.status.note(node, EventKind::Restarting, &note);
                tokio::time::sleep(wait).await;
                self.restart(node, process).await;
            }
            Decision::GiveUp(times) => {
                let note =
                    format!("{cause}; the keeper gave up after {times} restarts in ten minutes");
                self.status.note(node, EventKind::GivenUp, &note);
            }
        }
    }

    /// Boots a node whose QEMU has ended or whose guest asked for a reset. A woken QEMU has no kernel to reset to.
    async fn restart(self: &Arc<Self>, node: &str, process: &Identity) {
        let restarted = respawn(&self.root, &self.dir, node, process).await;
        if let Err(e) = restarted.and_then(|()| self.sync()) {
            let note = format!("the keeper cannot restart it: {e:#}");
            self.status.note(node, EventKind::Ended, &note);
        }
    }

    pub(super) fn connections(&self, node: &str) -> Result<Connections> {
        let connections = self
            .connections
            .lock()
            .map_err(|_| anyhow::anyhow!("a task of the keeper panicked"))?;
        let connections = connections
            .get(node)
            .with_context(|| format!("the keeper does not attend {node}"))?;
        Ok(connections.borrow().clone())
    }

    /// The console of a node that the keeper has attended.
    pub(super) fn console(&self, node: &str) -> Result<Console> {
        let consoles = self
            .consoles
            .lock()
            .map_err(|_| anyhow::anyhow!("a task of the keeper panicked"))?;
        let console = consoles.get(node).cloned();
        console.with_context(|| format!("the keeper does not attend {node}"))
    }

    /// Asks both the agent and ACPI: the user's image may have no agent, and kvmc's template starts no logind. Where logind
    /// runs, only the agent tells of an inhibitor that blocks.
    pub(super) async fn power_down(&self, node: &str) -> Result<()> {
        let Connections { qmp, agent, .. } = self.connections(node)?;
        self.status.stop(node);
        if let Some(qmp) = &qmp {
            wake_paused(qmp).await;
        }
        let by_agent = async {
            let agent = agent.context("the agent is not connected")?;
            let mode = PowerMode::Powerdown;
            let arguments = Shutdown { mode }.arguments();
            agent.request(Shutdown::NAME, arguments, ASK_GUEST).await?;
            anyhow::Ok(())
        };
        let by_button = async {
            let qmp = qmp.context("QMP is not connected")?;
            qmp.request("system_powerdown", json!({}), ASK_GUEST)
                .await?;
            anyhow::Ok(())
        };
        match tokio::join!(by_agent, by_button) {
            (Err(agent), _) if is_inhibited(&agent) => {
                bail!("an inhibitor in the guest blocks it, see `systemd-inhibit --list` there")
            }
            (Err(agent), Err(button)) => Err(agent.context(format!(
                "the ACPI power button did not work either: {button:#}"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) async fn quit(&self, node: &str) -> Result<()> {
        let qmp = self
            .connections(node)?
            .qmp
            .context("QMP is not connected")?;
        Ok(qmp.quit().await?)
    }
}

/// Whether a task attends the node.
fn is_attended(all: &BTreeMap<String, watch::Receiver<Connections>>, node: &str) -> bool {
    all.get(node).is_some_and(|c| c.has_changed().is_ok())
}

/// Whether the agent refused because an inhibitor blocks the shutdown. The class is the name of Python's exception.
fn is_inhibited(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<ExecuteError>(),
        Some(ExecuteError::Refused { class, .. }) if class == "PermissionError"
    )
}

/// Resumes a paused guest, because a paused guest cannot power off. If it lacks disk space it pauses again, and is
/// forced later.
async fn wake_paused(qmp: &Client) {
    let seen = qmp.request("query-status", json!({}), ASK_PAUSED).await;
    let seen = seen.unwrap_or_default();
    if let Some("paused" | "io-error") = seen.get("status").and_then(Value::as_str) {
        let _told_by_its_end = qmp.request("cont", json!({}), ASK_PAUSED).await;
    }
}

//! Attends one node: its QMP connection, its agent, its way to ready and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_netns::Links;
use kvmc_qmp::{Client, Event, Events};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::attended::{Attended, Connections};
use super::pause::{Pause, let_go};
use crate::host::{CgroupKills, NodeLimits, limit_node};
use crate::model::{Cause, EventKind, Stage};
use crate::node::{
    Ended, Evidence, Handle, Session, Sockets, check_connected, close_world, grown, last_words,
    savestate,
};
use crate::state::Restoration;
use crate::trace;
use crate::warm;

/// Longest time from the end of the QMP connection to the end of QEMU.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// Wait before a lost connection is opened again; it doubles each time.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// Longest time for a query to QEMU.
const STATUS: Duration = Duration::from_secs(5);

/// How a node's QEMU ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Ended(Cause),
    /// The guest asked for a reset. A woken QEMU cannot carry it out, because it has no kernel to boot.
    Reset,
    /// Another QEMU takes its place.
    Replaced,
}

impl Attended {
    /// Attends the node until its QEMU ends, and opens lost connections again.
    pub(super) async fn run(self, connections: watch::Sender<Connections>) -> End {
        let name = &self.node.name;
        let handle = self.process.open();
        if handle.is_some() {
            self.limit().await;
        }
        let kills = CgroupKills::of(self.process.pid);
        let mut evidence = Evidence::default();
        let mut failure = None;
        let mut wait = RETRY;
        while let Some(handle) = &handle {
            failure = self.attend(&connections, &mut evidence).await.err();
            connections.send_replace(Connections::default());
            if self.status.is_replaced(name) || handle.ended(LAST_BREATH).await {
                break;
            }
            let why = failure.as_ref().map(|e| format!("{e:#}"));
            let why = why.unwrap_or_else(|| "its QMP connection ended".to_owned());
            self.status.note(
                name,
                EventKind::Lost,
                &format!("QEMU runs, but {why}; the keeper connects again"),
            );
            if handle.ended(wait).await {
                break;
            }
            wait = (2 * wait).min(LONGEST_RETRY);
        }
        if self.status.is_replaced(name) {
            return End::Replaced;
        }
        if let Some(handle) = &handle {
            evidence.status = exit_status(handle).await;
        }
        evidence.look(&self.node, &self.process, &kills);
        evidence.words = last_words(&self.dir);
        let judged = match evidence.judge() {
            // That was asked for, and one that does not power off in time is killed.
            Cause::PoweredOff | Cause::Killed { signal: 9, .. } | Cause::Vanished
                if self.status.is_stopping(name) =>
            {
                Cause::Quit
            }
            cause => cause,
        };
        let cause = Ended::see(&self.dir, &self.process, judged);
        let end = match &cause {
            Cause::Rebooted => End::Reset,
            cause => End::Ended(cause.clone()),
        };
        let note = match (&end, failure) {
            (End::Reset | End::Replaced, _) => "the guest reboots".to_owned(),
            // The keeper ended QEMU because of this failure.
            (_, Some(failure)) if cause == Cause::Quit => format!("{failure:#}"),
            _ => cause.to_string(),
        };
        self.status.reach(name, Stage::Ended, &note);
        end
    }

    /// Gives its QEMU limits by systemd, where that runs. Without them it runs as well.
    async fn limit(&self) {
        let (unit, cluster) = (self.dir.scope(), self.cluster_dir.scope());
        let about = format!(
            "kvmc's node {} of {}",
            self.node.name,
            self.cluster_dir.name()
        );
        let limits = NodeLimits::of(self.node.ram.0, self.node.vcpus);
        let limited = limit_node(self.process.pid, &unit, &cluster, &about, limits).await;
        if let Err(e) = limited {
            trace::verbose(|| format!("{} has no limits: {e:#}", self.node.name));
        }
    }

    /// Empties the root of a QEMU that has started. Where that fails, it keeps one that is read-only.
    fn close_world(&self) {
        let Some(handle) = self.process.open() else {
            return;
        };
        if let Err(e) = close_world(&self.process, &handle) {
            trace::verbose(|| format!("the root of {} is not emptied: {e:#}", self.node.name));
        }
    }

    async fn attend(
        &self,
        connections: &watch::Sender<Connections>,
        evidence: &mut Evidence,
    ) -> Result<()> {
        let Session {
            qmp,
            mut events,
            agent,
            said,
            console: stream,
        } = Sockets::of(&self.dir).open().await?;
        self.close_world();
        let stops = Arc::new(AtomicBool::new(false));
        connections.send_replace(Connections {
            qmp: Some(qmp.clone()),
            agent: Some(agent.clone()),
            stops: Arc::clone(&stops),
        });
        let name = self.node.name.clone();
        self.status.regained(&name);
        let console = tokio::spawn(
            self.console
                .clone()
                .serve(stream, name, self.status.clone()),
        );
        let waits = match self.start_guest(&qmp).await {
            Ok(waits) => waits,
            Err(e) => {
                // The verb that starts the node sees its end, and the failure on the board.
                let _gone = qmp.quit().await;
                // QEMU's own event about this may come too late.
                evidence.note_event("SHUTDOWN", &json!({ "reason": "host-qmp-quit" }));
                return Err(e);
            }
        };
        let guest = tokio::spawn(self.clone().guest(qmp.clone(), agent, said));
        self.until_end(&qmp, &mut events, evidence, waits, &stops)
            .await;
        guest.abort();
        console.abort();
        Ok(())
    }

    /// Boots or wakes a paused QEMU. A running QEMU is left alone. For a guest that is paused for another reason, the
    /// returned task resumes it.
    async fn start_guest(&self, qmp: &Client) -> Result<Option<JoinHandle<()>>> {
        // Compare by name: a state that only a newer QEMU has needs nothing.
        let seen = qmp.request("query-status", json!({}), STATUS).await?;
        let state = seen.get("status").and_then(Value::as_str);
        if matches!(state, Some("prelaunch" | "inmigrate")) {
            check_connected(&self.networks, &self.node, &Links::open()?)
                .await
                .context("the node is not started, because it would have no network")?;
        }
        match state {
            Some("prelaunch") => {
                savestate::resize(qmp, &grown(&self.node, &self.dir)?).await?;
                qmp.execute(qapi_qmp::cont {}).await?;
            }
            Some("inmigrate") if self.restoring.is_some() => self.load(qmp, false).await?,
            Some("paused") if self.restoring.as_ref().is_some_and(|r| r.ahead) => {
                self.load(qmp, true).await?;
            }
            Some("inmigrate" | "paused") if Restoration::decided(&self.cluster_dir)?.is_some() => {
                // The next verb starts another QEMU in its place.
                bail!("the keeper that restored it has ended");
            }
            Some("paused") if self.dir.pausing().exists() => {
                // The keeper that paused it has ended.
                let_go(qmp, &self.cluster_dir, &self.dir).await?;
            }
            Some("inmigrate") => {
                let frozen = self
                    .node
                    .base
                    .frozen()
                    .context("the node has no frozen machine")?;
                let state = self.store.state(frozen);
                let grown = grown(&self.node, &self.dir)?;
                warm::wake(qmp, &state, &grown, || self.give_ids(frozen))
                    .await
                    .context("the node cannot be woken")?;
                self.status.reach(&self.node.name, Stage::Woken, "");
            }
            Some("io-error" | "paused") => {
                let why = Pause::found(qmp, self.dir.path()).await;
                return Ok(Some(self.look_after(qmp, why)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Gives a clone its ids before it runs. Without, only what its agent mounts over the kernel's files shows them.
    fn give_ids(&self, frozen: &str) {
        let ids = warm::Ids {
            uuid: self.node.uuid.clone(),
            boot_id: Some(self.boot_id.clone()),
        };
        if let Err(e) = self.store.give_ids(frozen, self.process.pid, &ids) {
            let note = format!("its memory keeps ids of the frozen machine: {e:#}");
            self.status.log(&self.node.name, Stage::Started, &note);
        }
    }

    fn look_after(&self, qmp: &Client, why: Pause) -> JoinHandle<()> {
        tokio::spawn(self.clone().resume_when_possible(qmp.clone(), why))
    }

    /// Follows QEMU's events until the connection ends, or until the keeper is to leave.
    async fn until_end(
        &self,
        qmp: &Client,
        events: &mut Events,
        evidence: &mut Evidence,
        mut waits: Option<JoinHandle<()>>,
        stops: &AtomicBool,
    ) {
        let name = &self.node.name;
        let mut leaving = self.leaving.clone();
        while let Some(Event { name: event, data }) = tokio::select! {
            event = events.next() => event,
            _ = leaving.wait_for(|leaves| *leaves) => None,
        } {
            evidence.note_event(&event, &data);
            match event.as_str() {
                "RESET" if data.get("guest") == Some(&Value::Bool(true)) => {
                    self.status.restart(name);
                    let _told_by_the_board =
                        Ended::record(&self.dir, Cause::Rebooted, self.process.clone());
                }
                // QEMU sends one event for each failed request. The first is enough.
                "BLOCK_IO_ERROR" if waits.as_ref().is_none_or(JoinHandle::is_finished) => {
                    let why = Pause::of_event(&data, self.dir.path());
                    waits = why.map(|why| self.look_after(qmp, why)).or(waits);
                }
                "STOP" if stops.swap(false, Ordering::AcqRel) => {}
                "STOP" if waits.as_ref().is_none_or(JoinHandle::is_finished) => {
                    waits = Some(self.look_after(qmp, Pause::PullOptions));
                }
                "RESUME" => {
                    if let Some(task) = waits.take() {
                        task.abort();
                    }
                    self.status.pause(name, None);
                }
                _ => {}
            }
        }
        if let Some(task) = waits {
            task.abort();
        }
    }
}

/// The exit status of an ended process. Its parent may not have reaped it yet.
async fn exit_status(handle: &Handle) -> Option<std::process::ExitStatus> {
    for _ in 0..20 {
        if let Some(status) = handle.exit_status() {
            return Some(status);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    None
}

//! One node, attended: its QMP, its agent, its way to ready and its end.

use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::qcow2;
use kvmc_netns::Links;
use kvmc_qmp::{Client, Event, Events};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::attended::{Attended, Connections};
use super::console::Console;
use super::pause::Pause;
use crate::host::CgroupKills;
use crate::model::{Cause, EventKind, Stage};
use crate::node::{
    Ended, Evidence, Handle, Session, Sockets, check_connected, last_words, savestate,
};
use crate::warm;

/// Longest that QEMU takes from the end of its QMP connection to its own.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// Before a connection that was lost is made again; each further time waits twice as long.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A look-up in QEMU.
const STATUS: Duration = Duration::from_secs(5);

/// How a node's QEMU ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Ended(Cause),
    /// The guest asked for a reset that this QEMU could not do, since it has no kernel to boot.
    Reset,
}

impl Attended {
    /// Attends the node until its QEMU ends. A connection that is lost is made again.
    pub(super) async fn run(self, connections: watch::Sender<Connections>) -> End {
        let name = &self.node.name;
        let kills = CgroupKills::of(self.process.pid);
        let handle = self.process.open();
        let mut evidence = Evidence::default();
        let mut failure = None;
        let mut wait = RETRY;
        while let Some(handle) = &handle {
            failure = self.attend(&connections, &mut evidence).await.err();
            connections.send_replace(Connections::default());
            if handle.ended(LAST_BREATH).await {
                break;
            }
            let why = failure.as_ref().map(|e| format!("{e:#}"));
            let why = why.unwrap_or_else(|| "its QMP connection ended".to_owned());
            self.status.note(
                name,
                EventKind::Lost,
                &format!("QEMU runs, but {why}; trying again"),
            );
            if handle.ended(wait).await {
                break;
            }
            wait = (2 * wait).min(LONGEST_RETRY);
        }
        if let Some(handle) = &handle {
            evidence.status = exit_status(handle).await;
        }
        evidence.look(&self.node, &self.process, &kills);
        evidence.words = last_words(&self.dir);
        let cause = Ended::see(&self.dir, &self.process, evidence.judge());
        let end = match &cause {
            Cause::Rebooted => End::Reset,
            cause => End::Ended(cause.clone()),
        };
        let note = match (&end, failure) {
            (End::Reset, _) => "the guest reboots".to_owned(),
            // We ended it, and this is why.
            (_, Some(failure)) if cause == Cause::Quit => format!("{failure:#}"),
            _ => cause.to_string(),
        };
        self.status.reach(name, Stage::Ended, &note);
        end
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
        let (console, guest_side) = Console::new(self.dir.console_log());
        connections.send_replace(Connections {
            qmp: Some(qmp.clone()),
            agent: Some(agent.clone()),
            console: Some(console),
        });
        let name = self.node.name.clone();
        self.status.regained(&name);
        let console = tokio::spawn(guest_side.serve(stream, name, self.status.clone()));
        let waits = match self.set_going(&qmp).await {
            Ok(waits) => waits,
            Err(e) => {
                // Whoever starts it sees its end, and our words on the board.
                let _gone = qmp.quit().await;
                // Its own word for that is not waited for.
                evidence.hear("SHUTDOWN", &json!({ "reason": "host-qmp-quit" }));
                return Err(e);
            }
        };
        let guest = tokio::spawn(self.clone().guest(qmp.clone(), agent, said));
        self.until_end(&qmp, &mut events, evidence, waits).await;
        guest.abort();
        console.abort();
        Ok(())
    }

    /// From paused to running: booting, or waking. One that runs already is left alone, and one that
    /// stands still is looked after by the task returned.
    async fn set_going(&self, qmp: &Client) -> Result<Option<JoinHandle<()>>> {
        // By its name: a state that a newer QEMU has is none of those that need anything.
        let seen = qmp.request("query-status", json!({}), STATUS).await?;
        let state = seen.get("status").and_then(Value::as_str);
        if matches!(state, Some("prelaunch" | "inmigrate")) {
            check_connected(&self.networks, &self.node, &Links::open()?)
                .await
                .context("it is not started, for it would have no network")?;
        }
        match state {
            Some("prelaunch") => {
                if let Some(size) = self.grown()? {
                    savestate::resize(qmp, size).await?;
                }
                qmp.execute(qapi_qmp::cont {}).await?;
            }
            Some("inmigrate") => {
                let frozen = self.node.base.frozen().context("it was never frozen")?;
                warm::wake(qmp, &self.store.state(frozen), self.grown()?)
                    .await
                    .context("it cannot be woken")?;
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

    fn look_after(&self, qmp: &Client, why: Pause) -> JoinHandle<()> {
        tokio::spawn(self.clone().stand_still(qmp.clone(), why))
    }

    /// The size that the node's disk is to have, when it has another yet.
    fn grown(&self) -> Result<Option<u64>> {
        let is = qcow2::inspect(&self.dir.disk())?.virtual_size;
        Ok((is < self.node.disk.0).then_some(self.node.disk.0))
    }

    /// Follows QEMU's events until there are no more.
    async fn until_end(
        &self,
        qmp: &Client,
        events: &mut Events,
        evidence: &mut Evidence,
        mut waits: Option<JoinHandle<()>>,
    ) {
        let name = &self.node.name;
        while let Some(Event { name: event, data }) = events.next().await {
            evidence.hear(&event, &data);
            match event.as_str() {
                "RESET" if data.get("guest") == Some(&Value::Bool(true)) => {
                    self.status.restart(name);
                    let _told_by_the_board =
                        Ended::record(&self.dir, Cause::Rebooted, self.process.clone());
                }
                // One for each request that failed: the first will do.
                "BLOCK_IO_ERROR" if waits.as_ref().is_none_or(JoinHandle::is_finished) => {
                    let why = Pause::of_event(&data, self.dir.path());
                    waits = why.map(|why| self.look_after(qmp, why)).or(waits);
                }
                "STOP" if waits.as_ref().is_none_or(JoinHandle::is_finished) => {
                    waits = Some(self.look_after(qmp, Pause::Asked));
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

/// How a process ended that has: it may be that its parent is yet to reap it.
async fn exit_status(handle: &Handle) -> Option<std::process::ExitStatus> {
    for _ in 0..20 {
        if let Some(status) = handle.exit_status() {
            return Some(status);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    None
}

//! The start of one node: wakes it where possible, boots it otherwise, and follows it until it is ready.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::Image;
use kvmc_netns::Links;
use tokio::sync::watch;

use super::slots::Slots;
use super::words::{Rebooted, console_tail, last_event, recorded_end};
use crate::failpoint::failpoint;
use crate::keeper::{Keeper, Request};
use crate::model::{Board, Progress, Stage};
use crate::node::{Ended, Identity, Launch, MemorySource, Running, connect, launch};
use crate::state::{ClusterDir, ClusterRecord, NodeDir, read_json};
use crate::steps::node;
use crate::warm::{LoadedMachines, Memory};

/// Longest time from the start of a waking node until it takes its identity; after that, booting is faster.
const WAKE: Duration = Duration::from_secs(90);
/// Longest wait for the keeper to attend a new QEMU, and the interval between questions.
const ATTENDED: Duration = Duration::from_secs(30);
const SYNC_AGAIN: Duration = Duration::from_millis(200);
/// Longest time that the keeper takes to notice that a killed QEMU has ended.
const SEEN_DEAD: Duration = Duration::from_secs(5);

/// The start of one node.
pub(super) struct NodeStart {
    pub(super) name: String,
    pub(super) record: ClusterRecord,
    pub(super) image: Image,
    pub(super) frozen: LoadedMachines,
    pub(super) dir: ClusterDir,
    pub(super) links: Links,
    pub(super) keeper: Keeper,
    pub(super) timeout: Duration,
    pub(super) progress: Rc<dyn Progress>,
}

impl NodeStart {
    /// Starts a node, or joins one that runs already, and follows it until it is ready. A reboot by the guest starts
    /// the node again.
    pub(super) async fn bring(
        &self,
        starts: bool,
        board: &watch::Receiver<Board>,
        slots: &Slots,
    ) -> Result<()> {
        let until = Instant::now() + self.timeout;
        let mut result = if starts {
            self.start(board, slots).await
        } else {
            self.join(board).await
        };
        // The keeper cannot boot it again, because it would wait for the lock that this verb holds.
        while result.as_ref().is_err_and(|e| e.is::<Rebooted>()) && Instant::now() < until {
            self.progress
                .say(&format!("{}: {Rebooted}; kvmc boots it again", self.name));
            let _slot = slots.booting.acquire().await;
            let mut reached = Stage::Started;
            result = self.attempt(board, None, &mut reached).await;
        }
        result
    }

    /// Wakes the node if possible, and boots it otherwise.
    async fn start(&self, board: &watch::Receiver<Board>, slots: &Slots) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let memory = node
            .base
            .frozen()
            .filter(|_| self.dir.node(&self.name).asleep().exists())
            .and_then(|id| self.frozen.memory(id));
        if let Some(memory) = memory {
            let mut reached = Stage::Started;
            let slot = slots.waking.acquire().await;
            let woken = self.attempt(board, Some(&memory), &mut reached).await;
            drop(slot);
            match woken {
                Err(e) if reached < Stage::Identity => self.progress.say(&format!(
                    "{} cannot be woken and boots instead: {e:#}",
                    self.name
                )),
                result => return result,
            }
        }
        let _slot = slots.booting.acquire().await;
        self.attempt(board, None, &mut Stage::Started.clone()).await
    }

    /// Follows a node that runs already until it is ready.
    async fn join(&self, board: &watch::Receiver<Board>) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let dir = self.dir.node(&self.name);
        let identity = read_json::<Identity>(&dir.process())?;
        let process =
            node::look(&self.dir, &self.name, &node.uuid).context("its QEMU has ended")?;
        let mut reached = Stage::Started;
        tokio::select! {
            result = self.follow(board.clone(), Stage::Ready, &mut reached) => result,
            true = process.ended(self.timeout) => {
                self.end_seen(board.clone()).await;
                let told = identity.and_then(|i| recorded_end(&dir, &i, ""));
                Err(told.unwrap_or_else(|| anyhow::anyhow!("its QEMU has ended")))
            }
            () = tokio::time::sleep(self.timeout) => bail!(
                "not ready after {} s; the last stage was `{}`. The end of its console:\n{}",
                self.timeout.as_secs(),
                self.dir_stage(),
                console_tail(&dir)
            ),
        }
    }

    /// Starts the node once. `reached` becomes the last stage that the node reached.
    async fn attempt(
        &self,
        board: &watch::Receiver<Board>,
        memory: Option<&Memory>,
        reached: &mut Stage,
    ) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let dir = self.dir.node(&self.name);
        let nics = connect(&self.record, node, &self.links).await?;
        failpoint!("up.tap");
        let mut running = launch(Launch {
            cluster: &self.record.spec.name,
            node,
            dir: &dir,
            at: &dir,
            image: &self.image,
            backing: &self.frozen.store().backing(node, &self.image),
            accelerator: &self.record.accelerator,
            nics,
            source: match memory {
                Some(memory) => MemorySource::Wake(memory.share()?),
                None => MemorySource::Boot,
            },
        })?;
        self.progress.stage(&self.name, Stage::Started, "");
        let is_waking = memory.is_some();
        let result = self
            .see_through(board, &mut running, &dir, is_waking, reached)
            .await;
        if is_waking && result.is_err() && *reached < Stage::Identity {
            // A half-woken node must not stay. Its NIC was never connected.
            running.kill();
            let note = self.end_seen(board.clone()).await;
            return result.map_err(|e| {
                if note.is_empty() {
                    e
                } else {
                    anyhow::anyhow!(note)
                }
            });
        }
        result
    }

    async fn see_through(
        &self,
        board: &watch::Receiver<Board>,
        running: &mut Running,
        dir: &NodeDir,
        is_waking: bool,
        reached: &mut Stage,
    ) -> Result<()> {
        let process = running.identity.number();
        tokio::select! {
            result = self.until_attended(board.clone(), process) => result,
            why = self.until_dead(board, running, dir) => Err(why),
        }?;
        if is_waking {
            tokio::select! {
                result = self.follow(board.clone(), Stage::Identity, reached) => result,
                why = self.until_dead(board, running, dir) => Err(why),
                () = tokio::time::sleep(WAKE) => bail!("the woken node does not take its identity"),
            }?;
        }
        tokio::select! {
            result = self.follow(board.clone(), Stage::Ready, reached) => result,
            why = self.until_dead(board, running, dir) => Err(why),
            () = tokio::time::sleep(self.timeout) => bail!(
                "not ready after {} s; the last stage was `{}`. The end of its console:\n{}",
                self.timeout.as_secs(),
                self.dir_stage(),
                console_tail(dir)
            ),
        }
    }

    /// Waits until the keeper attends this QEMU. Until the keeper has noticed the end of the previous QEMU, its board
    /// describes that one.
    async fn until_attended(
        &self,
        mut board: watch::Receiver<Board>,
        process: (i32, u64),
    ) -> Result<()> {
        let attended = async {
            loop {
                self.keeper.ask(&Request::Sync).await?;
                let view = board.borrow_and_update().get(&self.name).cloned();
                if view.is_some_and(|v| v.process.is_none_or(|p| p == process)) {
                    return Ok(());
                }
                if let Ok(Err(_)) = tokio::time::timeout(SYNC_AGAIN, board.changed()).await {
                    bail!("the keeper ended");
                }
            }
        };
        tokio::time::timeout(ATTENDED, attended)
            .await
            .context("the keeper does not attend the node")?
    }

    /// Waits until the keeper has noticed the node's end, and returns the keeper's note about it. Only then can the
    /// keeper attend the next QEMU.
    async fn end_seen(&self, mut board: watch::Receiver<Board>) -> String {
        let seen = async {
            loop {
                let view = board.borrow_and_update().get(&self.name).cloned();
                match view {
                    Some(view) if view.stage == Stage::Ended => return view.note,
                    _ if board.changed().await.is_err() => return String::new(),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(SEEN_DEAD, seen)
            .await
            .unwrap_or_default()
    }

    /// Waits for QEMU's end, and returns how it was.
    async fn until_dead(
        &self,
        board: &watch::Receiver<Board>,
        running: &mut Running,
        dir: &NodeDir,
    ) -> anyhow::Error {
        let status = loop {
            if let Some(status) = running.ended() {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        if status.success() {
            // QEMU ended normally, so it told the keeper the cause.
            let note = self.end_seen(board.clone()).await;
            if let Some(told) = recorded_end(dir, &running.identity, &note) {
                return told;
            }
        }
        Ended::witness(dir, &running.identity, status);
        let said = std::fs::read_to_string(dir.qemu_log()).unwrap_or_default();
        let said = said.trim();
        if said.is_empty() {
            let console = dir.console_log();
            anyhow::anyhow!(
                "QEMU ended: {status}, without a message; its log is {}",
                console.display()
            )
        } else {
            anyhow::anyhow!("QEMU ended: {status}: {said}")
        }
    }

    /// The last stage that was shown. The keeper's events tell it when time is up.
    fn dir_stage(&self) -> String {
        let events = std::fs::read_to_string(self.dir.events()).unwrap_or_default();
        last_event(&events, &self.name).unwrap_or_else(|| "started".to_owned())
    }

    /// Follows the node to a stage. The end of QEMU is watched elsewhere, which gives a better error.
    async fn follow(
        &self,
        mut board: watch::Receiver<Board>,
        until: Stage,
        reached: &mut Stage,
    ) -> Result<()> {
        loop {
            let seen = board.borrow_and_update().get(&self.name).cloned();
            if let Some(view) = seen {
                for stage in view.passed {
                    if stage > *reached && stage != Stage::Ended {
                        *reached = stage;
                        let note = if stage == view.stage { &*view.note } else { "" };
                        self.progress.stage(&self.name, stage, note);
                    }
                }
                if *reached >= until {
                    return Ok(());
                }
            }
            if board.changed().await.is_err() {
                bail!("the keeper ended");
            }
        }
    }
}

//! Nodes from started to ready. As many boot at once as there are cores, since all at once are slower; those
//! that wake wait for each other where they are emulated only, since otherwise they hardly need a core.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::Image;
use kvmc_netns::Links;
use tokio::sync::{Semaphore, watch};

use super::stop::process;
use super::up::Ground;
use super::warm::Warm;
use crate::failpoint::failpoint;
use crate::host::cores;
use crate::keeper::{Keeper, Request};
use crate::model::Accelerator;
use crate::model::Progress;
use crate::model::{Board, Stage};
use crate::node::Ended;
use crate::node::{Identity, Launch, Running, connect, launch};
use crate::state::{ClusterDir, ClusterRecord, NodeDir, read_json};
use crate::warm::Memory;

/// Lines of a console that an error shows.
const CONSOLE_LINES: usize = 8;
/// Longest from the start of a waking to an identity; booting instead would be faster then.
const WAKE: Duration = Duration::from_secs(90);
/// Emulated nodes that wake at once for each core: one alone leaves cores idle while the last ones wake, and of many
/// none is ready for long.
const WAKING_PER_CORE: usize = 4;
/// Longest from a start to the keeper's attendance, and how often it is asked for that.
const ATTENDED: Duration = Duration::from_secs(30);
const SYNC_AGAIN: Duration = Duration::from_millis(200);
/// Longest that the keeper takes to see a killed QEMU's end.
const SEEN_DEAD: Duration = Duration::from_secs(5);

/// Starts the nodes; returns those that did not become ready, with the reason.
///
/// # Errors
/// That the keeper is not there.
pub(super) async fn boot(
    record: &ClusterRecord,
    nodes: &[String],
    ground: Ground<'_>,
    timeout: Duration,
) -> Result<Vec<(String, String)>> {
    let Ground {
        images,
        warm,
        dir,
        links,
        progress,
        ..
    } = ground;
    let keeper = Keeper::of(dir, &record.spec.name);
    keeper.ensure().await?;
    keeper.ask(&Request::Sync).await?;
    let board = keeper.watch().await?;
    // Those that a run before this one has started, and did not see through.
    let joined: Vec<_> = {
        let board = board.borrow();
        let on_the_way = |n: &String| board.get(n).is_some_and(|v| v.stage < Stage::Ready);
        let names = record.nodes.iter().map(|n| &n.name);
        names
            .filter(|n| !nodes.contains(n) && on_the_way(n))
            .cloned()
            .collect()
    };
    let slots = Rc::new(Slots::of(cores(), &record.accelerator));
    let all = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for name in nodes.iter().chain(&joined) {
        let one = One {
            name: name.clone(),
            record: record.clone(),
            image: images.of(record, record.node(name)?)?.clone(),
            warm: warm.clone(),
            dir: dir.clone(),
            links: links.clone(),
            keeper: keeper.clone(),
            timeout,
            progress: Rc::clone(progress),
        };
        let (slots, board) = (Rc::clone(&slots), board.clone());
        let starts = nodes.contains(name);
        tasks.push(all.spawn_local(async move {
            let result = one.bring(starts, &board, &slots).await;
            (one.name, result)
        }));
    }
    all.await;
    let mut failed = Vec::new();
    for task in tasks {
        match task.await.context("a node's task stopped")? {
            (_, Ok(())) => {}
            (name, Err(e)) => {
                progress.stage(&name, Stage::Ended, "failed");
                failed.push((name, format!("{e:#}")));
            }
        }
    }
    Ok(failed)
}

/// Nodes that may be on their way at once.
struct Slots {
    booting: Semaphore,
    waking: Semaphore,
}

impl Slots {
    fn of(cores: u32, accelerator: &Accelerator) -> Self {
        let waking = match accelerator.is_kvm() {
            true => Semaphore::MAX_PERMITS,
            false => count(cores).saturating_mul(WAKING_PER_CORE),
        };
        Self {
            booting: Semaphore::new(count(cores)),
            waking: Semaphore::new(waking),
        }
    }
}

fn count(cores: u32) -> usize {
    usize::try_from(cores).unwrap_or(1).max(1)
}

struct One {
    name: String,
    record: ClusterRecord,
    image: Image,
    warm: Warm,
    dir: ClusterDir,
    links: Links,
    keeper: Keeper,
    timeout: Duration,
    progress: Rc<dyn Progress>,
}

impl One {
    /// Brings a node to ready that does not run, or that runs already and was not seen through, past
    /// reboots of its guest.
    async fn bring(
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
        // The keeper would boot it again, and waits for the lock that we hold.
        while result.as_ref().is_err_and(|e| e.is::<Rebooted>()) && Instant::now() < until {
            self.progress
                .say(&format!("{}: {Rebooted}; it boots again", self.name));
            let _slot = slots.booting.acquire().await;
            let mut reached = Stage::Started;
            result = self.attempt(board, None, &mut reached).await;
        }
        result
    }

    /// Wakes the node if it can be woken, and boots it if not.
    async fn start(&self, board: &watch::Receiver<Board>, slots: &Slots) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let memory = node
            .frozen
            .as_ref()
            .filter(|_| self.dir.node(&self.name).asleep().exists())
            .and_then(|id| self.warm.memory(id));
        if let Some(memory) = memory {
            let mut reached = Stage::Started;
            let slot = slots.waking.acquire().await;
            let woken = self.attempt(board, Some(&memory), &mut reached).await;
            drop(slot);
            match woken {
                Err(e) if reached < Stage::Identity => self.progress.say(&format!(
                    "{} cannot be woken, it boots instead: {e:#}",
                    self.name
                )),
                result => return result,
            }
        }
        let _slot = slots.booting.acquire().await;
        self.attempt(board, None, &mut Stage::Started.clone()).await
    }

    /// Sees a node through that runs already.
    async fn join(&self, board: &watch::Receiver<Board>) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let dir = self.dir.node(&self.name);
        let identity = read_json::<Identity>(&dir.process())?;
        let process = process(&self.dir, &self.name, &node.uuid).context("its QEMU has ended")?;
        let mut reached = Stage::Started;
        tokio::select! {
            result = self.follow(board.clone(), Stage::Ready, &mut reached) => result,
            true = process.ended(self.timeout) => {
                self.end_seen(board.clone()).await;
                let told = identity.and_then(|i| told_end(&dir, &i, ""));
                Err(told.unwrap_or_else(|| anyhow::anyhow!("its QEMU has ended")))
            }
            () = tokio::time::sleep(self.timeout) => bail!(
                "not ready after {} s; it got as far as `{}`. The end of its console:\n{}",
                self.timeout.as_secs(),
                self.dir_stage(),
                console_tail(&dir)
            ),
        }
    }

    /// One start; `reached` says afterwards how far it came.
    async fn attempt(
        &self,
        board: &watch::Receiver<Board>,
        memory: Option<&Memory>,
        reached: &mut Stage,
    ) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let dir = self.dir.node(&self.name);
        let cards = connect(&self.record, node, &self.links).await?;
        failpoint!("up.tap");
        let mut running = launch(Launch {
            cluster: &self.record.spec.name,
            node,
            dir: &dir,
            image: &self.image,
            backing: &self.warm.store.backing(node, &self.image),
            accelerator: &self.record.accelerator,
            cards,
            memory: memory.map(Memory::share).transpose()?,
        })?;
        self.progress.stage(&self.name, Stage::Started, "");
        let is_waking = memory.is_some();
        let result = self
            .see_through(board, &mut running, &dir, is_waking, reached)
            .await;
        if is_waking && result.is_err() && *reached < Stage::Identity {
            // A half-woken node must not stay; its card was never connected.
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
                () = tokio::time::sleep(WAKE) => bail!("it does not take its identity"),
            }?;
        }
        tokio::select! {
            result = self.follow(board.clone(), Stage::Ready, reached) => result,
            why = self.until_dead(board, running, dir) => Err(why),
            () = tokio::time::sleep(self.timeout) => bail!(
                "not ready after {} s; it got as far as `{}`. The end of its console:\n{}",
                self.timeout.as_secs(),
                self.dir_stage(),
                console_tail(dir)
            ),
        }
    }

    /// Waits until the keeper attends this QEMU: it may not have seen the end of the one before yet, and
    /// what its board says is of that one then.
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
                    bail!("the keeper ended; `kvmc up` starts it again");
                }
            }
        };
        tokio::time::timeout(ATTENDED, attended)
            .await
            .context("the keeper does not attend it")?
    }

    /// Waits until the keeper has seen the node's end too, and returns its words for it: only then does
    /// it attend the next QEMU.
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
            // It ended in order, so it told the keeper why.
            let note = self.end_seen(board.clone()).await;
            if let Some(told) = told_end(dir, &running.identity, &note) {
                return told;
            }
        }
        Ended::witness(dir, &running.identity, status);
        let said = std::fs::read_to_string(dir.qemu_log()).unwrap_or_default();
        let said = said.trim();
        if said.is_empty() {
            let console = dir.console_log();
            anyhow::anyhow!(
                "QEMU ended: {status}, without a word; see {}",
                console.display()
            )
        } else {
            anyhow::anyhow!("QEMU ended: {status}: {said}")
        }
    }

    /// The stage last shown; asked of the keeper's events when time is up.
    fn dir_stage(&self) -> String {
        let events = std::fs::read_to_string(self.dir.events()).unwrap_or_default();
        last_event(&events, &self.name).unwrap_or_else(|| "started".to_owned())
    }

    /// Follows the node to a stage. Its end is no stage: its process is watched beside this, and has
    /// better words.
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
                bail!("the keeper ended; `kvmc up` starts it again");
            }
        }
    }
}

/// The guest asked for a reset that its QEMU could not do, and which ended it.
#[derive(Debug)]
struct Rebooted;

impl std::fmt::Display for Rebooted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the guest rebooted")
    }
}

impl std::error::Error for Rebooted {}

/// The last event of a node in `events.jsonl`, of which a crash may have cut the end off.
pub(crate) fn last_event(events: &str, node: &str) -> Option<String> {
    let mine = format!("\"node\":\"{node}\"");
    let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let last = events
        .lines()
        .rev()
        .filter(|l| l.contains(&mine))
        .find_map(parsed);
    Some(last?.get("event")?.as_str()?.to_owned())
}

/// How the keeper says that a process ended, if it has seen that.
fn told_end(dir: &NodeDir, process: &Identity, note: &str) -> Option<anyhow::Error> {
    let ended = Ended::last(dir).filter(|e| e.process == *process)?;
    Some(if ended.is_reboot() {
        Rebooted.into()
    } else if !note.is_empty() {
        // Where the keeper ended it, it says why.
        anyhow::anyhow!("QEMU ended: {note}")
    } else {
        anyhow::anyhow!("QEMU ended: {}", ended.cause)
    })
}

/// The last lines of a console, without what a terminal would act on.
fn console_tail(dir: &NodeDir) -> String {
    let bytes = std::fs::read(dir.console_log()).unwrap_or_default();
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(CONSOLE_LINES);
    let tail: Vec<_> = lines
        .iter()
        .skip(from)
        .map(|l| format!("  | {l}"))
        .collect();
    if tail.is_empty() {
        "  | (nothing)".to_owned()
    } else {
        tail.join("\n")
    }
}

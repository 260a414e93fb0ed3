//! Nodes from started to ready, as many booting at once as there are cores: all at once are slower.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_images::Image;
use kvmc_netns::{Links, TapSpec};
use tokio::sync::{Semaphore, watch};

use super::Progress;
use crate::host::cores;
use crate::keeper::{Board, Keeper, Request, Stage};
use crate::node::{Launch, Running, launch};
use crate::state::{ClusterDir, ClusterRecord, NodeDir};

/// Lines of a console that an error shows.
const CONSOLE_LINES: usize = 8;

/// Starts the nodes; returns those that did not become ready, with the reason.
///
/// # Errors
/// That the keeper is not there.
pub(super) async fn boot(
    record: &ClusterRecord,
    nodes: &[String],
    image: &Image,
    dir: &ClusterDir,
    links: &Links,
    timeout: Duration,
    progress: &Rc<dyn Progress>,
) -> Result<Vec<(String, String)>> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let keeper = Keeper::of(dir, &record.spec.name);
    let board = keeper.watch().await?;
    let slots = Rc::new(Semaphore::new(usize::try_from(cores()).unwrap_or(1)));
    let all = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for name in nodes {
        let one = One {
            name: name.clone(),
            record: record.clone(),
            image: image.clone(),
            dir: dir.clone(),
            links: links.clone(),
            keeper: keeper.clone(),
            timeout,
            progress: Rc::clone(progress),
        };
        let (slots, board) = (Rc::clone(&slots), board.clone());
        tasks.push(all.spawn_local(async move {
            let _slot = slots.acquire().await;
            let result = one.boot(board).await;
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

struct One {
    name: String,
    record: ClusterRecord,
    image: Image,
    dir: ClusterDir,
    links: Links,
    keeper: Keeper,
    timeout: Duration,
    progress: Rc<dyn Progress>,
}

impl One {
    async fn boot(&self, board: watch::Receiver<Board>) -> Result<()> {
        let node = self.record.node(&self.name)?;
        let dir = self.dir.node(&self.name);
        let network = &self.record.network;
        let spec = TapSpec {
            name: node.tap.clone(),
            bridge: network.bridge.clone(),
            mtu: network.mtu,
        };
        let tap = self.links.create_tap(&spec).await?;
        let mut running = launch(Launch {
            cluster: &self.record.spec.name,
            node,
            dir: &dir,
            image: &self.image,
            accelerator: &self.record.accelerator,
            tap,
        })?;
        self.progress.stage(&self.name, Stage::Started, "");
        self.keeper.ask(&Request::Sync).await?;
        let mut reached = Stage::Started;
        tokio::select! {
            result = self.follow(board, &mut reached) => result,
            words = until_dead(&mut running, &dir) => bail!("QEMU ended: {words}"),
            () = tokio::time::sleep(self.timeout) => bail!(
                "not ready after {} s; it got as far as `{}`. The end of its console:\n{}",
                self.timeout.as_secs(),
                self.dir_stage(),
                console_tail(&dir)
            ),
        }
    }

    /// The stage last shown; asked of the keeper's board when time is up.
    fn dir_stage(&self) -> String {
        let events = std::fs::read_to_string(self.dir.events()).unwrap_or_default();
        let mine = format!("\"node\":\"{}\"", self.name);
        let last = events.lines().rfind(|l| l.contains(&mine));
        let value = last.and_then(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        value
            .and_then(|v| Some(v.get("event")?.as_str()?.to_owned()))
            .unwrap_or_else(|| "started".to_owned())
    }

    async fn follow(&self, mut board: watch::Receiver<Board>, reached: &mut Stage) -> Result<()> {
        loop {
            let seen = board.borrow_and_update().get(&self.name).cloned();
            if let Some(view) = seen {
                if view.stage > *reached {
                    *reached = view.stage;
                    self.progress.stage(&self.name, view.stage, &view.note);
                }
                match view.stage {
                    Stage::Ready => return Ok(()),
                    // Its process is watched beside this, and has better words.
                    Stage::Ended => std::future::pending::<()>().await,
                    _ => {}
                }
            }
            if board.changed().await.is_err() {
                bail!("the keeper ended; `kvmc up` starts it again");
            }
        }
    }
}

/// Waits for QEMU's end, and returns what it said.
async fn until_dead(running: &mut Running, dir: &NodeDir) -> String {
    let status = loop {
        if let Some(status) = running.ended() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let said = std::fs::read_to_string(dir.qemu_log()).unwrap_or_default();
    let said = said.trim();
    if said.is_empty() {
        format!(
            "{status}, without a word; see {}",
            dir.console_log().display()
        )
    } else {
        format!("{status}: {said}")
    }
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

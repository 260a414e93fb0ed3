//! The pause in which all nodes are saved. The keeper stops the guests and saves their devices; this process copies their
//! memory. If it ends meanwhile, the keeper lets the guests go on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::sources::{Source, sources};
use super::{fits, folder, room};
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::ids::now;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Lead, Request, Step};
use crate::model::{Board, Interrupted, Stage};
use crate::snapshot::{Copy, Delta, Fits, Name};
use crate::state::{ClusterDir, ClusterRecord, private_dir};

/// Longest wait for nodes that are about to be ready, such as after the start of a new keeper.
const READY: Duration = Duration::from_secs(20);

/// Nodes that are ready to be saved.
pub(super) struct Prepared {
    pub(super) keeper: Keeper,
    pub(super) sources: Vec<Source>,
    /// What a restore will need, by the node.
    pub(super) present: BTreeMap<String, Fits>,
    /// The folder for what is written.
    pub(super) unfinished: PathBuf,
}

/// Waits until all nodes can be saved, and makes the folder for that.
///
/// # Errors
/// Fails if a node is not ready or cannot be saved.
pub(super) async fn prepare(local: &Local, record: &ClusterRecord) -> Result<Prepared> {
    let dir = local.dir();
    let keeper = Keeper::of(&dir, local.name());
    keeper.ensure().await?;
    keeper.ask(&Request::Sync).await?;
    until_ready(&keeper, record).await?;
    let sources = sources(local, record)?;
    room::check_save(local, &sources)?;
    let present = fits::present(local, record)?;
    let unfinished = dir.unfinished_snapshot();
    private_dir(&dir.snapshots())?;
    private_dir(&unfinished)?;
    Ok(Prepared {
        keeper,
        sources,
        present,
        unfinished,
    })
}

/// What a pause gave.
pub(super) struct Paused {
    /// The keeper waits for the end of it.
    pub(super) lead: Lead,
    /// The memory of each source.
    pub(super) deltas: Vec<Delta>,
    /// The instant, in seconds since 1970.
    pub(super) time: f64,
    /// How long the guests stood still.
    pub(super) stood: Duration,
}

/// Waits until the keeper sees all nodes ready.
///
/// # Errors
/// Fails with the first node that is not, and why.
async fn until_ready(keeper: &Keeper, record: &ClusterRecord) -> Result<()> {
    let not_ready = |board: &Board| {
        let mut nodes = record.nodes.iter();
        nodes.find_map(|node| match board.get(&node.name) {
            Some(view) if view.stage == Stage::Ready && view.paused.is_none() => None,
            Some(view) => {
                let why = view.paused.clone();
                Some((
                    node.name.clone(),
                    why.unwrap_or_else(|| view.stage.name().to_owned()),
                ))
            }
            None => Some((node.name.clone(), "not attended".to_owned())),
        })
    };
    let mut board = keeper.watch().await?;
    let waiting = async {
        while not_ready(&board.borrow_and_update()).is_some() {
            if board.changed().await.is_err() {
                bail!("the keeper ended");
            }
        }
        Ok(())
    };
    if let Ok(ready) = tokio::time::timeout(READY, waiting).await {
        return ready;
    }
    match not_ready(&keeper.board().await?) {
        Some((node, why)) => bail!("{node} is not ready ({why}); only ready nodes can be saved"),
        None => Ok(()),
    }
}

/// Saves all nodes at one instant, into the unfinished snapshot and into memory. With the name of a snapshot they go on in
/// new images, else they still stand.
///
/// # Errors
/// Fails if a node cannot be saved, or if a signal came. The nodes go on.
pub(super) async fn pause(
    keeper: &Keeper,
    dir: &ClusterDir,
    sources: &[Source],
    name: Option<&Name>,
    interrupt: &mut Interrupt,
) -> Result<Paused> {
    let request = Request::Save {
        overlays: name.is_some(),
        name: name.map(ToString::to_string).unwrap_or_default(),
    };
    let mut lead = keeper.lead(&request).await?;
    failpoint!("snapshot.prepared");
    let copies = sources.iter().map(|s| s.ram.reserve());
    let copies = copies.collect::<Result<_>>()?;
    if interrupt.has_come().await {
        return Err(unchanged());
    }
    let began = Instant::now();
    lead.step(Step::Stop).await?;
    lead.done().await?;
    let time = now();
    failpoint!("snapshot.stopped");
    let deltas = copy(sources, copies)?;
    for source in sources {
        keep_variables(dir, &source.name)?;
    }
    lead.done().await?;
    failpoint!("snapshot.saved");
    if name.is_some() {
        lead.step(Step::Go).await?;
        lead.done().await?;
    }
    let stood = began.elapsed();
    failpoint!("snapshot.running");
    Ok(Paused {
        lead,
        deltas,
        time,
        stood,
    })
}

/// Copies the memory of all nodes, each by a thread of its own. They wait for memory, not for cores.
fn copy(sources: &[Source], copies: Vec<Copy>) -> Result<Vec<Delta>> {
    std::thread::scope(|scope| {
        let work = sources.iter().zip(copies);
        let copying: Vec<_> = work
            .map(|(source, copy)| scope.spawn(move || copy.take(&source.ram)))
            .collect();
        let done = copying.into_iter().map(|thread| {
            let copied = thread.join();
            copied.map_err(|_| anyhow::anyhow!("a thread that copies memory panicked"))?
        });
        done.collect()
    })
}

/// Copies the UEFI variables of a stopped node, if it has any.
fn keep_variables(dir: &ClusterDir, node: &str) -> Result<()> {
    let from = dir.node(node).uefi_variables();
    if from.exists() {
        let to = folder::variables(&dir.unfinished_snapshot(), node);
        fs_err::copy(from, to)?;
    }
    Ok(())
}

/// The error of a save that a signal ended.
pub(super) fn unchanged() -> anyhow::Error {
    Interrupted("the nodes go on, and there is no new snapshot".to_owned()).into()
}

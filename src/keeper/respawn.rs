//! Starts a node again, after a reset by its guest or by its role's restart policy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::Store;
use kvmc_netns::Links;

use crate::image::check_cluster_intact;
use crate::node::{Identity, Launch, MemorySource, connect, launch};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, Restoration, State, read_json};
use crate::warm;

/// A verb may hold the cluster's lock as long as nodes take to start.
const LOCK: Duration = Duration::from_secs(3600);
/// Longest time that QEMU takes to end after it has announced its end.
const END: Duration = Duration::from_secs(10);
/// Waiting for a process is done in steps, so that each wait has a limit.
const STEP: Duration = Duration::from_secs(3600);
/// Longest time that the attending task takes to read the exit status.
const REAPED: Duration = Duration::from_secs(30);

/// Boots a node again from its own disk, unless a verb has done so or wants it stopped.
///
/// # Errors
/// Fails if the node cannot be started.
pub(super) async fn respawn(
    root: &Path,
    dir: &ClusterDir,
    node: &str,
    ended: &Identity,
) -> Result<()> {
    let _lock = Lock::take(dir, &format!("reboot of {node}"), LOCK).await?;
    let Some(record) = ClusterRecord::load(dir)? else {
        return Ok(());
    };
    if Restoration::decided(dir)?.is_some() {
        // A verb restores it. Until then nobody may write to its disks.
        return Ok(());
    }
    let is_wanted = matches!(record.phase, Phase::Up | Phase::Starting)
        && !record.stopped.contains(node)
        && record.node(node).is_ok();
    let node_dir = dir.node(node);
    // Its connections close a moment before QEMU ends. Another QEMU was started by a verb.
    let recorded = read_json::<Identity>(&node_dir.process())?;
    if recorded.as_ref() != Some(ended) {
        return Ok(());
    }
    let process = recorded.and_then(|p| p.open());
    let is_over = match process {
        Some(process) => process.ended(END).await,
        None => true,
    };
    if !is_wanted || !is_over {
        return Ok(());
    }
    let node = record.node(node)?;
    let state = State::at(root);
    check_cluster_intact(&state, &record)?;
    let image = Store::open(root)
        .get(node.base.image())
        .context("its image is missing")?;
    let nics = connect(&record, node, &Links::open()?).await?;
    let mut running = launch(Launch {
        cluster: &record.spec.name,
        node,
        dir: &node_dir,
        at: &node_dir,
        image: &image,
        backing: &warm::Store::open(root).backing(node, &image),
        accelerator: &record.accelerator,
        nics,
        source: MemorySource::Boot,
    })?;
    // It is our child, so its end must be awaited here.
    tokio::spawn(async move {
        if let Some(handle) = running.identity.open() {
            while !handle.ended(STEP).await {}
        }
        // The attending task reaps it first, to read how it ended. This is for a node that nobody attends.
        tokio::time::sleep(REAPED).await;
        running.ended()
    });
    Ok(())
}

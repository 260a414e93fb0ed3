//! A node started again by the keeper: for a guest's reset, or by its role's policy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::Store;
use kvmc_netns::Links;

use crate::image::check_cluster_intact;
use crate::node::{Identity, Launch, connect, launch};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, State, read_json};
use crate::warm;

/// A verb may hold the cluster as long as nodes take to start.
const LOCK: Duration = Duration::from_secs(3600);
/// Longest that a QEMU takes to end, which said it does.
const END: Duration = Duration::from_secs(10);
/// A process is waited for in steps, so that no wait is for ever.
const STEP: Duration = Duration::from_secs(3600);
/// Longest that its attendance takes to look how it ended.
const REAPED: Duration = Duration::from_secs(30);

/// Boots a node again, from its own disk, unless a verb has done so or wants it stopped.
///
/// # Errors
/// What keeps it from starting.
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
    let is_wanted = matches!(record.phase, Phase::Up | Phase::Starting);
    let node_dir = dir.node(node);
    // Its connections are closed a moment before it has ended. Another one is a verb's.
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
        .context("its template is gone")?;
    let nics = connect(&record, node, &Links::open()?).await?;
    let mut running = launch(Launch {
        cluster: &record.spec.name,
        node,
        dir: &node_dir,
        image: &image,
        backing: &warm::Store::open(root).backing(node, &image),
        accelerator: &record.accelerator,
        nics,
        memory: None,
    })?;
    // It is a child of ours, and somebody must hear of its end.
    tokio::spawn(async move {
        if let Some(handle) = running.identity.open() {
            while !handle.ended(STEP).await {}
        }
        // Who attends it reaps it, to know how it ended; unless nobody does.
        tokio::time::sleep(REAPED).await;
        running.ended()
    });
    Ok(())
}

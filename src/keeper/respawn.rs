//! A guest's reset, done by another QEMU.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_images::Store;
use kvmc_netns::Links;

use crate::node::{Identity, Launch, connect, launch};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, read_json};
use crate::warm;

/// A verb may hold the cluster as long as nodes take to start.
const LOCK: Duration = Duration::from_secs(3600);
/// Longest that a QEMU takes to end, which said it does.
const END: Duration = Duration::from_secs(10);
/// A process is waited for in steps, so that no wait is for ever.
const STEP: Duration = Duration::from_secs(3600);

/// Boots a node again, from its own disk, unless a verb has done so or wants it stopped.
///
/// # Errors
/// What keeps it from starting.
pub(super) async fn respawn(root: &Path, dir: &ClusterDir, node: &str) -> Result<()> {
    let _lock = Lock::take(dir, &format!("reboot of {node}"), LOCK).await?;
    let Some(record) = ClusterRecord::load(dir)? else {
        return Ok(());
    };
    let is_wanted = matches!(record.phase, Phase::Up | Phase::Starting);
    let node_dir = dir.node(node);
    // Its connections are closed a moment before it has ended. One that goes on is a verb's.
    let process = read_json::<Identity>(&node_dir.process())?.and_then(|p| p.open());
    let is_over = match process {
        Some(process) => process.ended(END).await,
        None => true,
    };
    if !is_wanted || !is_over {
        return Ok(());
    }
    let node = record.node(node)?;
    let image = Store::open(root)
        .get(record.image_of(node))
        .context("its template is gone")?;
    let cards = connect(&record, node, &Links::open()?).await?;
    let mut running = launch(Launch {
        cluster: &record.spec.name,
        node,
        dir: &node_dir,
        image: &image,
        backing: &warm::Store::open(root).backing(node, &image),
        accelerator: &record.accelerator,
        cards,
        memory: None,
    })?;
    // It is a child of ours, and somebody must hear of its end.
    tokio::spawn(async move {
        let handle = running.identity.open();
        while running.ended().is_none() {
            match &handle {
                Some(handle) => drop(handle.ended(STEP).await),
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    });
    Ok(())
}

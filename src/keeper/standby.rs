//! QEMUs that stand by while `try` runs a command: loaded with what the cluster may go back to, and paused.

use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::node::{Identity, qemus_of};
use crate::state::{ClusterDir, ClusterRecord, read_json};

/// Time for the kernel to end a process with much memory.
const KILLED: Duration = Duration::from_secs(10);

/// `standby.json`, which is written before the first of them starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standby {
    /// The process that they are for, and that ends them.
    pub(crate) by: Identity,
    /// The number of their images, which no record names yet.
    pub(crate) number: u32,
}

impl Standby {
    /// What stands by, if anything.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub(crate) fn read(dir: &ClusterDir) -> Result<Option<Self>> {
        read_json(&dir.standby())
    }

    /// Whether the process that they are for goes on.
    pub(crate) fn is_wanted(&self) -> bool {
        self.by.open().is_some()
    }
}

/// Ends all QEMUs of the cluster's nodes but those that are recorded as the nodes' own. Called under the lock.
///
/// # Errors
/// Fails if a file cannot be read, or if a process does not end.
pub(crate) async fn end_others(dir: &ClusterDir, record: &ClusterRecord) -> Result<()> {
    let mut own = Vec::new();
    for node in &record.nodes {
        own.extend(read_json::<Identity>(&dir.node(&node.name).process())?);
    }
    let uuids: Vec<_> = record.nodes.iter().map(|n| n.uuid.as_str()).collect();
    let mut others = qemus_of(&uuids);
    others.retain(|qemu| !own.contains(qemu));
    let handles: Vec<_> = others.iter().filter_map(Identity::open).collect();
    for handle in &handles {
        handle.signal(Signal::SIGKILL)?;
    }
    for handle in &handles {
        if !handle.ended(KILLED).await {
            bail!("a QEMU that stood by does not end");
        }
    }
    Ok(())
}

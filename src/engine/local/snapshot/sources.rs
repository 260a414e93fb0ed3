//! The running nodes whose memory is saved.

use std::fs::File;

use anyhow::{Context, Result};

use super::{fits, memory};
use crate::engine::local::Local;
use crate::node::Identity;
use crate::snapshot::Ram;
use crate::state::{ClusterRecord, read_json};

/// A node that is saved.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) ram: Ram,
    /// The frozen machine's memory that it lies on.
    pub(super) frozen: Option<File>,
}

/// The nodes that run, with their memory.
///
/// # Errors
/// Fails if a node does not run, or cannot be saved as it runs.
pub(super) fn sources(local: &Local, record: &ClusterRecord) -> Result<Vec<Source>> {
    let dir = local.dir();
    let nodes = record.nodes.iter();
    nodes
        .map(|node| {
            let process = read_json::<Identity>(&dir.node(&node.name).process())?;
            let process = process.filter(|p| p.open().is_some());
            let process = process.with_context(|| format!("{} does not run", node.name))?;
            fits::check_running(local.name(), record, node, process.pid)?;
            let ram = Ram::find(process.pid, node.ram.0);
            Ok(Source {
                name: node.name.clone(),
                ram: ram.with_context(|| format!("the memory of {} cannot be read", node.name))?,
                frozen: memory::of_qemu(process.pid)?,
            })
        })
        .collect()
}

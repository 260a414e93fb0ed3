//! The files that tell which folders of nodes and of this host are tied together, one a folder, beside the cluster's record.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::ids::random_id;
use crate::model::{TieKind, TieStatus};
use crate::node::{Handle, Identity};
use crate::state::{ClusterDir, private_dir, read_json, remove_file, replace_json};

/// A folder of a node that this host sees, or a folder of this host that a node sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tie {
    pub(super) kind: TieKind,
    pub(super) node: String,
    /// A folder of the node; relative to its user's home.
    pub(super) path: String,
    /// A folder of this host.
    pub(super) folder: PathBuf,
    #[serde(default)]
    pub(super) read_only: bool,
    /// The user and group of this host whose files these are.
    pub(super) owner: (u32, u32),
    /// The process that serves it; none before it runs.
    #[serde(default)]
    pub(super) process: Option<Identity>,
    /// Whether it is there now, or why not.
    #[serde(default)]
    pub(super) state: String,
}

/// The state of a tie that works.
pub(super) const ATTACHED: &str = "attached";

impl Tie {
    /// The process that serves it, if it runs.
    pub(super) fn running(&self) -> Option<Handle> {
        self.process.as_ref()?.open()
    }

    pub(super) fn status(&self) -> TieStatus {
        TieStatus {
            kind: self.kind,
            node: self.node.clone(),
            path: self.path.clone(),
            folder: self.folder.display().to_string(),
            read_only: self.read_only,
            state: match self.running() {
                Some(_) => self.state.clone(),
                None => "its process has ended".to_owned(),
            },
        }
    }
}

/// The name of a tie's file, without its ending.
pub(super) fn new_id() -> String {
    random_id().chars().take(12).collect()
}

/// The argument by which a tie's process is told from every other process.
pub(super) fn mark(dir: &ClusterDir, id: &str) -> String {
    format!("--tie={}", file(dir, id).display())
}

pub(super) fn file(dir: &ClusterDir, id: &str) -> PathBuf {
    dir.ties().join(format!("{id}.json"))
}

/// The name of the tie whose file this is.
pub(super) fn id_of(file: &Path) -> Option<String> {
    Some(file.file_stem()?.to_str()?.to_owned())
}

pub(super) fn write(dir: &ClusterDir, id: &str, tie: &Tie) -> Result<()> {
    private_dir(&dir.ties())?;
    replace_json(&file(dir, id), tie, 0o600)
}

pub(super) fn read(dir: &ClusterDir, id: &str) -> Result<Tie> {
    read_json(&file(dir, id))?.context("only other verbs start this")
}

pub(super) fn forget(dir: &ClusterDir, id: &str) -> Result<()> {
    remove_file(&file(dir, id))?;
    // Others may be there.
    let _stays = std::fs::remove_dir(dir.ties());
    Ok(())
}

/// All ties of a cluster, in the order of their nodes. What cannot be read is left out.
pub(super) fn all(dir: &ClusterDir) -> Vec<(String, Tie)> {
    let entries = std::fs::read_dir(dir.ties())
        .into_iter()
        .flatten()
        .flatten();
    let mut all: Vec<(String, Tie)> = entries
        .filter_map(|entry| id_of(&entry.path()))
        .filter_map(|id| Some((id.clone(), read(dir, &id).ok()?)))
        .collect();
    all.sort_by(|(_, a), (_, b)| (&a.node, &a.path, &a.folder).cmp(&(&b.node, &b.path, &b.folder)));
    all
}

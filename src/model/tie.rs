//! Folders of nodes that this host sees, and folders of this host that nodes see.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who sees whose folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TieKind {
    /// This host sees a node's.
    Mount,
    /// A node sees this host's.
    Share,
}

/// A folder that both sides see.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct TieStatus {
    pub(crate) kind: TieKind,
    pub(crate) node: String,
    /// The node's folder; relative to its user's home.
    pub(crate) path: String,
    /// The folder of this host.
    pub(crate) folder: String,
    pub(crate) read_only: bool,
    /// `attached`, or why it is not; `ended` by `umount` or `unshare`.
    pub(crate) state: String,
}

impl fmt::Display for TieStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node, path, folder, ..
        } = self;
        match self.kind {
            TieKind::Mount => write!(f, "{node}:{path} on {folder}"),
            TieKind::Share => write!(f, "{folder} as {node}:{path}"),
        }
    }
}

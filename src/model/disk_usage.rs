//! What kvmc's files take on this host's disk, which `kvmc df` shows and prints as JSON.

use schemars::JsonSchema;
use serde::Serialize;

/// All files of a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct DiskUsage {
    pub(crate) schema: u32,
    pub(crate) rows: Vec<DiskRow>,
    /// Bytes that all of it takes.
    pub(crate) total: u64,
    /// Bytes that `image prune` would give back, and `image prune --all`.
    pub(crate) prune: u64,
    pub(crate) prune_all: u64,
}

/// Files that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct DiskRow {
    pub(crate) kind: DiskKind,
    /// An image's tags, a frozen machine's id, `CLUSTER/NODE`, `CLUSTER/SNAPSHOT` or a cluster's name.
    pub(crate) name: String,
    /// Bytes that they take.
    pub(crate) allocated: u64,
    /// Bytes of the images and frozen machines below, which others can share.
    pub(crate) shared: u64,
    /// Clusters and images that need it.
    pub(crate) used_by: Vec<String>,
    /// What removes it.
    pub(crate) prune: Prune,
}

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DiskKind {
    Image,
    Frozen,
    /// A node's overlay, with its logs.
    Node,
    /// The memory and devices of a snapshot. Its images count with the nodes.
    Snapshot,
    /// The other files of a cluster.
    Cluster,
    /// Downloads that were cut off, spare keys, caches.
    Other,
}

impl DiskKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Frozen => "frozen",
            Self::Node => "node",
            Self::Snapshot => "snapshot",
            Self::Cluster => "cluster",
            Self::Other => "other",
        }
    }
}

/// Which `image prune` removes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prune {
    Never,
    Yes,
    /// Only with `--all`.
    All,
}

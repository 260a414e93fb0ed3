//! Snapshots, as verbs report them.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::report::seconds;

/// The snapshots of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct SnapshotList {
    pub(crate) schema: u32,
    pub(crate) cluster: String,
    /// The oldest first.
    pub(crate) snapshots: Vec<SnapshotRow>,
    /// Snapshots that cannot be read, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) damaged: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct SnapshotRow {
    pub(crate) name: String,
    /// Seconds since 1970.
    pub(crate) time: f64,
    /// Bytes of its nodes' memory and devices. Their disks count with the nodes.
    pub(crate) size: u64,
    pub(crate) nodes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    /// The snapshot that the cluster went on from.
    pub(crate) parent: Option<String>,
    /// Whether the cluster goes on from this one.
    pub(crate) current: bool,
}

/// The result of `snapshot save`, and of `stop --suspend`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Saved {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    /// Bytes of memory and devices.
    pub(crate) size: u64,
    /// How long all guests stood still.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) paused: Duration,
    /// Seconds since the verb began.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) took: Duration,
    /// Snapshots that `--keep` removed.
    pub(crate) removed: Vec<String>,
}

/// The result of `snapshot rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct RolledBack {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    /// Whether machines stood by for it.
    pub(crate) ahead: bool,
    /// Sessions of `kvmc ssh` that ended, since the nodes know nothing of them.
    pub(crate) sessions: usize,
    /// Those of them that have no terminal on which they were told.
    pub(crate) untold: usize,
    /// From the decision until all guests ran.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) down: Duration,
    /// Seconds since the verb began.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) took: Duration,
}

/// A line about sessions of `kvmc ssh` that a verb ended, if there were any. `untold` of them had no terminal.
pub(crate) fn ended_sessions(ended: usize, untold: usize) -> Option<String> {
    let sessions = match ended {
        0 => return None,
        1 => "1 session of ssh has ended".to_owned(),
        more => format!("{more} sessions of ssh have ended"),
    };
    Some(match untold {
        0 => sessions,
        _ if untold == ended => format!("{sessions}, without a terminal that tells so"),
        some => format!("{sessions}, {some} without a terminal that tells so"),
    })
}

/// What `try` did.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tried {
    pub(crate) saved: Saved,
    /// From the start of the command until machines stood by for the way back, if any did.
    pub(crate) stood_by: Option<Duration>,
    /// How long the command ran.
    pub(crate) ran: Duration,
    /// The way back, if the nodes went it.
    pub(crate) back: Option<RolledBack>,
    /// What the nodes had written to their disks by the end of the command.
    pub(crate) changed: Vec<NodeDiff>,
}

/// The result of `snapshot rm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct SnapshotRemoval {
    /// The names of the snapshots that are gone.
    pub(crate) removed: Vec<String>,
}

/// The result of `snapshot export`, and of `snapshot import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Exported {
    pub(crate) name: String,
    /// The file that was written or read.
    pub(crate) file: PathBuf,
    /// Bytes of the file, or of the memory and devices in it.
    pub(crate) size: u64,
}

/// What the nodes have written to their disks since a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct SnapshotDiff {
    pub(crate) schema: u32,
    pub(crate) cluster: String,
    pub(crate) snapshot: String,
    /// Guests that run may have more to write.
    pub(crate) running: bool,
    pub(crate) nodes: Vec<NodeDiff>,
}

/// A node of a [`SnapshotDiff`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct NodeDiff {
    pub(crate) node: String,
    pub(crate) disks: Vec<DiskDiff>,
}

/// A disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct DiskDiff {
    /// `disk`, or `extra1` and so on.
    pub(crate) disk: String,
    /// Bytes that differ, in blocks of 4 KiB.
    pub(crate) bytes: u64,
    /// Sorted by their paths.
    pub(crate) files: Vec<FileDiff>,
    /// Why its files cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unread: Option<String>,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FileDiff {
    pub(crate) path: String,
    pub(crate) change: Change,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    Added,
    Changed,
    Removed,
}

impl Change {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

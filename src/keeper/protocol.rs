//! What the CLI and the keeper say to each other: one request a connection, lines of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::vitals::Vitals;

/// How far a node has come, in the order it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It has its disk.
    Cloned,
    /// QEMU runs.
    Started,
    /// The guest has written to its console.
    Kernel,
    /// It runs, from a frozen machine's state.
    Woken,
    /// The agent has taken the identity.
    Identity,
    /// It holds its address.
    Lease,
    /// Its ssh banner was read.
    Ssh,
    /// All of it.
    Ready,
    /// QEMU has ended.
    Ended,
}

impl Stage {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cloned => "cloned",
            Self::Started => "started",
            Self::Kernel => "kernel",
            Self::Woken => "woken",
            Self::Identity => "identity",
            Self::Lease => "lease",
            Self::Ssh => "ssh",
            Self::Ready => "ready",
            Self::Ended => "ended",
        }
    }
}

/// A node as the keeper sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeView {
    /// The QEMU that all this is about: pid and start time. The one before it may have been ready too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<(i32, u64)>,
    pub(crate) stage: Stage,
    /// All that it came through since QEMU's start, the present one last: who watches the board may miss
    /// what is there but for a moment.
    #[serde(default)]
    pub(crate) passed: Vec<Stage>,
    /// Why it stands still, when it does: `no space on <path>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<String>,
    /// What went wrong, or how it ended; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    /// As its agent last said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vitals: Option<Vitals>,
    /// The share of the last seconds that its vcpus waited for a core of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steal: Option<f64>,
}

/// All nodes that the keeper attends.
pub(crate) type Board = BTreeMap<String, NodeView>;

/// What the CLI asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Read the record again and attend every node that runs.
    Sync,
    /// Read the record again and serve its forwards.
    Forward,
    /// The board, once.
    Board,
    /// The board, and again whenever it changes.
    Watch,
    /// Ask a guest to power off: ACPI's button by QMP, and the agent.
    Powerdown { node: String },
    /// Tell a QEMU to quit.
    Quit { node: String },
}

/// What the keeper answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Done,
    Board(Board),
    Failed(String),
}

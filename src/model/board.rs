//! What the keeper knows of its nodes, as it sends it to who asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Stage;

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

/// A guest beside its host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vitals {
    /// Seconds that the guest's clock is ahead of the host's.
    pub(crate) drift: f64,
    /// The drift is known no better than this, in seconds: half the time that asking took.
    pub(crate) error: f64,
    /// The guest's load average over a minute.
    pub(crate) load: f64,
}

//! The keeper's view of its nodes, as it sends it to clients.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SeenFault, Stage};

/// The keeper's view of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeView {
    /// Pid and start time of the QEMU that this view is about. The previous QEMU may have been ready too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<(i32, u64)>,
    pub(crate) stage: Stage,
    /// All stages since QEMU's start, the current one last. A client may miss a stage that is short.
    #[serde(default)]
    pub(crate) passed: Vec<Stage>,
    /// Why the guest is paused: `no space on <path>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<String>,
    /// A fault, or how the node ended; empty if there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    /// Whether its agent writes the identity at each boot, as agents before version 4 do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) old_agent: bool,
    /// The release of a kernel in its /boot that it does not boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<String>,
    /// Whether kvmc asked the node to power off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stopping: bool,
    /// Whether another QEMU takes its place, because the node goes back to a snapshot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replaced: bool,
    /// Units that the guest's systemd killed during a shutdown because they did not stop in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) killed: Vec<String>,
    /// The agent's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vitals: Option<Vitals>,
    /// The share of the last seconds that its vcpus waited for a host core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steal: Option<f64>,
    /// Why it cannot be used as it should, though it became ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<SeenFault>,
    /// Host cores that QEMU kept busy during the last seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<f64>,
}

/// All nodes that the keeper attends.
pub(crate) type Board = BTreeMap<String, NodeView>;

/// How well a guest keeps up with its host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vitals {
    /// Seconds that the guest's clock is ahead of the host's.
    pub(crate) drift: f64,
    /// The error of the drift in seconds: half the time that the question took.
    pub(crate) error: f64,
    /// The guest's load average over a minute.
    pub(crate) load: f64,
}

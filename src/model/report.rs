//! The reports of verbs, which `output` turns into text.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// The result of `up` or `start`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UpReport {
    pub(crate) cluster: String,
    /// Number of nodes in the cluster.
    pub(crate) nodes: usize,
    /// The first node, for hints.
    pub(crate) first: String,
    pub(crate) outcome: UpOutcome,
    /// The folder of the files for Ansible and ssh.
    pub(crate) project: PathBuf,
    /// The folder that has them instead, where that one is gone.
    pub(crate) instead: Option<PathBuf>,
    /// Seconds since the verb began.
    pub(crate) took: Duration,
}

/// What happened to the nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpOutcome {
    /// Everything ran already.
    NothingToDo,
    Done {
        /// Nodes that this run started.
        started: Vec<String>,
        /// Nodes that did not become ready.
        failed: Vec<NodeFailure>,
    },
}

/// A node that did not reach the requested state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeFailure {
    pub(crate) node: String,
    pub(crate) why: String,
}

/// The plan of `up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PlanReport {
    pub(crate) cluster: String,
    /// The steps in words, in their order.
    pub(crate) steps: Vec<String>,
}

/// The result of `stop`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StopReport {
    pub(crate) cluster: String,
    /// The cluster was stopped before.
    pub(crate) was_stopped: bool,
    pub(crate) nodes: Vec<(String, NodeStop)>,
    /// Errors. The next `stop` tries again.
    pub(crate) errors: Vec<String>,
    /// A host setting that stays switched on, with the reason.
    pub(crate) kept: Option<String>,
}

/// How a node stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NodeStop {
    /// It did not run.
    WasStopped,
    /// The guest powered off after this time.
    Clean(Duration),
    /// The guest did not power off and QEMU was forced to end, or the guest's systemd killed a unit.
    Forced(String),
}

impl StopReport {
    /// Whether every running node powered off by itself with nothing killed, and everything else is removed.
    pub(crate) fn is_clean(&self) -> bool {
        let is_forced = |(_, stop): &(String, NodeStop)| matches!(stop, NodeStop::Forced(_));
        self.errors.is_empty() && !self.nodes.iter().any(is_forced)
    }
}

/// The result of `down`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DownReport {
    pub(crate) cluster: String,
    pub(crate) found: Found,
    /// Number of nodes that were running.
    pub(crate) killed: usize,
    pub(crate) errors: Vec<String>,
    /// What stays, with the reason: files that the user changed, host settings that others need.
    pub(crate) kept: Vec<String>,
}

/// What existed of a cluster before its removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    Nothing,
    /// Rules of a cluster that does not exist any more, in words.
    Leftovers(Vec<String>),
    /// Only a folder that a killed kvmc left.
    Folder,
    Cluster,
}

/// One finding of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: String,
    pub(crate) verdict: Verdict,
    pub(crate) what: String,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Slow,
    Warning,
    Missing,
    Damaged,
    Remains,
    Mended,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Warning => "warning",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Remains => "remains",
            Self::Mended => "mended",
        }
    }

    /// Whether something is left to do.
    pub(crate) const fn is_bad(self) -> bool {
        matches!(self, Self::Missing | Self::Damaged | Self::Remains)
    }
}

/// A forward from a port of the host to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ForwardReport {
    pub(crate) protocol: &'static str,
    /// The address of the host; `None` for all addresses.
    pub(crate) address: Option<std::net::Ipv4Addr>,
    /// The port of the host.
    pub(crate) port: u16,
    pub(crate) node: String,
    /// The port of the node.
    pub(crate) node_port: u16,
    /// The node's address and port.
    pub(crate) target: String,
    /// The forward as it is typed.
    #[serde(skip)]
    pub(crate) text: String,
}

//! What verbs come back with: typed values, which `output` makes into words.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// How `up` or `start` went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UpReport {
    pub(crate) cluster: String,
    /// Nodes of the cluster.
    pub(crate) nodes: usize,
    /// The node that hints show: the first one.
    pub(crate) first: String,
    pub(crate) outcome: UpOutcome,
    /// Where the files for Ansible and ssh are.
    pub(crate) project: PathBuf,
    /// In seconds, since the verb began.
    pub(crate) took: Duration,
}

/// What became of the nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpOutcome {
    /// All was there.
    NothingToDo,
    Done {
        /// Nodes that were started by this run.
        started: Vec<String>,
        /// Nodes that did not become ready.
        failed: Vec<NodeFailure>,
    },
}

/// A node that is not what it was to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct NodeFailure {
    pub(crate) node: String,
    pub(crate) why: String,
}

/// What `up` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PlanReport {
    pub(crate) cluster: String,
    /// In words, in their order.
    pub(crate) steps: Vec<String>,
}

/// How `stop` went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StopReport {
    pub(crate) cluster: String,
    /// It was stopped before.
    pub(crate) was_stopped: bool,
    pub(crate) nodes: Vec<(String, NodeStop)>,
    /// What could not be ended or removed; the next `stop` tries again.
    pub(crate) errors: Vec<String>,
    /// What was switched on and stays so, with the reason.
    pub(crate) kept: Option<String>,
}

/// How a node stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NodeStop {
    /// It did not run.
    WasStopped,
    /// The guest powered off, after this long.
    Clean(Duration),
    /// It did not, and was made to.
    Forced(String),
}

impl StopReport {
    /// Every node that ran powered off by itself, and all else is gone.
    pub(crate) fn is_clean(&self) -> bool {
        let is_forced = |(_, stop): &(String, NodeStop)| matches!(stop, NodeStop::Forced(_));
        self.errors.is_empty() && !self.nodes.iter().any(is_forced)
    }
}

/// What `down` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DownReport {
    pub(crate) cluster: String,
    pub(crate) found: Found,
    /// Nodes that were running.
    pub(crate) killed: usize,
    pub(crate) errors: Vec<String>,
    /// What was switched on and stays so, with the reason.
    pub(crate) kept: Option<String>,
}

/// What there was of a cluster that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    Nothing,
    /// Rules of a cluster that is no more, in words.
    Leftovers(Vec<String>),
    /// A folder that a killed kvmc left, and nothing else.
    Folder,
    Cluster,
}

/// One check of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: String,
    pub(crate) verdict: Verdict,
    pub(crate) what: String,
}

/// What a check comes to.
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

    /// Something is left to do.
    pub(crate) const fn is_bad(self) -> bool {
        matches!(self, Self::Missing | Self::Damaged | Self::Remains)
    }
}

/// A port of the host that leads to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ForwardReport {
    pub(crate) protocol: &'static str,
    /// The host's address that it is on; none for all of them.
    pub(crate) address: Option<std::net::Ipv4Addr>,
    /// On the host.
    pub(crate) port: u16,
    pub(crate) node: String,
    /// On the node.
    pub(crate) node_port: u16,
    /// The node's address and port.
    pub(crate) target: String,
    /// As it is typed.
    #[serde(skip)]
    pub(crate) text: String,
}

//! The reports of verbs, which `output` turns into text.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::FaultStatus;

/// Writes a time as seconds.
pub(super) fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// A node with its fault.
#[derive(Serialize, JsonSchema)]
struct FaultOf<'a> {
    node: &'a str,
    #[serde(flatten)]
    fault: &'a FaultStatus,
}

fn faults<S: Serializer>(all: &[(String, FaultStatus)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(all.iter().map(|(node, fault)| FaultOf { node, fault }))
}

/// A node with how it stopped.
#[derive(Serialize, JsonSchema)]
struct StopOf<'a> {
    node: &'a str,
    stop: &'a NodeStop,
}

fn stops<S: Serializer>(all: &[(String, NodeStop)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(all.iter().map(|(node, stop)| StopOf { node, stop }))
}

/// The result of `up`, `start`, `restart`, `scale` or `rm`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct UpReport {
    pub(crate) cluster: String,
    /// Number of nodes in the cluster.
    pub(crate) nodes: usize,
    /// The first node, for hints.
    pub(crate) first: String,
    pub(crate) outcome: UpOutcome,
    /// Nodes that run with other RAM or vcpus than recorded, until their next start.
    pub(crate) pending: Vec<String>,
    /// Settings of the whole cluster that this run changed, and that count when the cluster stops and starts.
    pub(crate) waiting: Vec<String>,
    /// The folder of the files for Ansible and ssh.
    pub(crate) project: PathBuf,
    /// The folder that has them instead, where that one is gone.
    pub(crate) instead: Option<PathBuf>,
    /// Why nodes that are ready cannot be used as they should.
    #[serde(serialize_with = "faults")]
    #[schemars(with = "Vec<FaultOf<'static>>")]
    pub(crate) faults: Vec<(String, FaultStatus)>,
    /// Time since the verb began, in JSON as seconds.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) took: Duration,
}

/// What happened to the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UpOutcome {
    /// Everything ran already.
    NothingToDo,
    Done {
        /// Nodes that this run started.
        started: Vec<String>,
        /// Nodes that did not become ready.
        failed: Vec<NodeFailure>,
        /// Nodes that this run removed.
        removed: Vec<String>,
    },
    /// The cluster is stopped, and only its record changed.
    Recorded {
        removed: Vec<String>,
        /// Nodes that the next start makes.
        later: Vec<String>,
    },
}

/// A node that did not reach the requested state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct NodeFailure {
    pub(crate) node: String,
    pub(crate) why: String,
}

/// The result of `stop`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct StopReport {
    pub(crate) cluster: String,
    /// The cluster was stopped before.
    pub(crate) was_stopped: bool,
    #[serde(serialize_with = "stops")]
    #[schemars(with = "Vec<StopOf<'static>>")]
    pub(crate) nodes: Vec<(String, NodeStop)>,
    /// Errors. The next `stop` tries again.
    pub(crate) errors: Vec<String>,
    /// A host setting that stays switched on, with the reason.
    pub(crate) kept: Option<String>,
}

/// How a node stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NodeStop {
    /// It did not run.
    WasStopped,
    /// The guest powered off after this time, in JSON as seconds.
    Clean(
        #[serde(serialize_with = "seconds")]
        #[schemars(with = "f64")]
        Duration,
    ),
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    Nothing,
    /// Rules of a cluster that does not exist any more, in words.
    Leftovers(Vec<String>),
    /// Only a folder that a killed kvmc left.
    Folder,
    Cluster,
}

/// The result of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct DoctorReport {
    pub(crate) schema: u32,
    pub(crate) findings: Vec<Finding>,
}

/// The result of `support`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct SupportReport {
    pub(crate) schema: u32,
    /// The archive.
    pub(crate) file: PathBuf,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The names of the files in it.
    pub(crate) files: Vec<String>,
}

/// The result of `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct VersionReport {
    pub(crate) schema: u32,
    pub(crate) version: String,
    /// The commit that it was built from; null if unknown.
    pub(crate) commit: Option<String>,
    /// The QEMU that runs nodes of this host's architecture; null if there is none.
    pub(crate) qemu: Option<QemuVersion>,
}

/// A QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct QemuVersion {
    pub(crate) version: String,
    pub(crate) path: PathBuf,
}

/// One finding of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    pub(crate) check: String,
    pub(crate) verdict: Verdict,
    pub(crate) what: String,
    /// What to do, where that is not a part of `what`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cure: Option<String>,
}

impl Finding {
    pub(crate) fn of(check: &str, verdict: Verdict, what: String) -> Self {
        Self {
            check: check.to_owned(),
            verdict,
            what,
            cure: None,
        }
    }
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
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

/// The forwards that were added or removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct ForwardChange {
    pub(crate) added: Vec<ForwardReport>,
    /// The names that were given.
    pub(crate) removed: Vec<String>,
}

impl ForwardChange {
    pub(crate) fn added(added: Vec<ForwardReport>) -> Self {
        let removed = Vec::new();
        Self { added, removed }
    }

    pub(crate) fn removed(removed: Vec<String>) -> Self {
        let added = Vec::new();
        Self { added, removed }
    }
}

/// A forward from a port of the host to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
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

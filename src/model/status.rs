//! The status of a cluster, which `kvmc status` shows and prints as JSON.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Accelerator, Cause, SeenFault, TieStatus, UsageStatus};

/// Version of kvmc's JSON output. It grows when a field is removed or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ClusterStatus {
    pub(crate) schema: u32,
    pub(crate) cluster: String,
    /// `unknown` if its record is missing.
    pub(crate) phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accelerator: Option<Accelerator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub(crate) subnet: Option<Ipv4Network>,
    /// Digest of the first node's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// The snapshot that it goes on from, or was last saved in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
    /// The cluster that it was forked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fork_of: Option<String>,
    /// Whether its next start goes on from saved memory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspended: bool,
    /// Whether the keeper answers.
    pub(crate) keeper: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) networks: Vec<NetworkStatus>,
    /// `None` if there are no rules or they cannot be read.
    pub(crate) firewall: Option<FirewallStatus>,
    /// The last repair of bridges, ports and routes while the cluster ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) links_restored: Option<RestoredStatus>,
    pub(crate) forwards: Vec<String>,
    /// Folders that both this host and a node see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ties: Vec<TieStatus>,
    pub(crate) nodes: Vec<NodeStatus>,
    /// Bridges of a cluster without a record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bridges: Vec<String>,
    /// Contradictions between record and host, each with its cure.
    pub(crate) doubts: Vec<String>,
}

impl ClusterStatus {
    /// Counts the cores that nodes kept busy since an earlier look, instead of during the keeper's last interval.
    pub(crate) fn count_since(&mut self, before: &Self) {
        for node in &mut self.nodes {
            let same = |n: &&NodeStatus| n.name == node.name && n.pid == node.pid;
            if let Some(before) = before.nodes.iter().find(same) {
                node.usage.count_since(&before.usage);
            }
        }
    }
}

/// A network of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct NetworkStatus {
    pub(crate) name: String,
    pub(crate) bridge: String,
    #[schemars(with = "String")]
    pub(crate) subnet: Ipv4Network,
    pub(crate) gateway: Ipv4Addr,
    #[schemars(with = "Option<String>")]
    pub(crate) prefix6: Option<Ipv6Network>,
    pub(crate) gateway6: Option<Ipv6Addr>,
    pub(crate) isolated: bool,
    /// The MTU in bytes.
    pub(crate) mtu: u32,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct NodeStatus {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// The state in words: `ready`, `running (identity)`, `stopped (3 s ago: …)`.
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    /// What its record says; `None` without a record.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<MachineStatus>,
    /// Why the guest is paused.
    pub(crate) paused: Option<String>,
    pub(crate) vitals: VitalsStatus,
    pub(crate) usage: UsageStatus,
    /// Its last end or reboot.
    pub(crate) last_end: Option<EndStatus>,
    /// Why it cannot be used as it should, though it became ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<FaultStatus>,
}

/// A fault of a node, with its cure.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct FaultStatus {
    #[serde(flatten)]
    pub(crate) seen: SeenFault,
    /// The fault in words.
    pub(crate) what: String,
    pub(crate) cure: String,
}

/// The recorded machine of a node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct MachineStatus {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: String,
    pub(crate) vcpus: u32,
    /// RAM in bytes.
    pub(crate) ram: u64,
    /// Virtual size of its disk in bytes.
    pub(crate) disk: u64,
    /// Virtual sizes of its extra disks in bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<u64>,
    pub(crate) nics: Vec<NicStatus>,
}

/// A node's NIC.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct NicStatus {
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: String,
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) tap: String,
}

/// How well a node keeps up with its host: fractions and seconds, null if unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct VitalsStatus {
    /// The share of the last seconds that its vcpus waited for a host core.
    pub(crate) steal: Option<f64>,
    /// Seconds that the guest's clock is ahead of the host's.
    pub(crate) clock_drift: Option<f64>,
    /// The error of the drift in seconds.
    pub(crate) clock_drift_error: Option<f64>,
    /// The guest's load average over a minute.
    pub(crate) load: Option<f64>,
}

/// An end of a node's QEMU, or a reboot of its guest.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct EndStatus {
    pub(crate) cause: Cause,
    /// The cause in words.
    pub(crate) what: String,
    /// Seconds since 1970.
    pub(crate) time: f64,
}

/// The state of a cluster's firewall rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct FirewallStatus {
    /// Rules and sysctls that are missing now.
    pub(crate) missing: Vec<String>,
    /// Rules of other programs that block the cluster.
    pub(crate) obstacles: Vec<String>,
    /// Rules added to other programs' firewalls.
    pub(crate) among_others: Vec<String>,
    /// The last repair while the cluster ran.
    pub(crate) restored: Option<RestoredStatus>,
}

/// What another program removed or changed and the keeper restored.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct RestoredStatus {
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// Number of repairs so far.
    pub(crate) times: u64,
    pub(crate) what: Vec<String>,
}

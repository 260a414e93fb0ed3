//! A cluster as it is seen: what `kvmc status` shows, and prints as JSON.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::Serialize;

use super::{Accelerator, Cause};

/// Version of what kvmc prints as JSON: goes up when a field goes or changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ClusterStatus {
    pub(crate) schema: u32,
    pub(crate) cluster: String,
    /// `unknown` where its record is not.
    pub(crate) phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accelerator: Option<Accelerator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subnet: Option<Ipv4Network>,
    /// Digest of the first node's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// The keeper answers.
    pub(crate) keeper: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) networks: Vec<NetworkStatus>,
    /// None where the rules cannot be seen, or there are none.
    pub(crate) firewall: Option<FirewallStatus>,
    pub(crate) forwards: Vec<String>,
    pub(crate) nodes: Vec<NodeStatus>,
    /// Bridges of a cluster without a record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bridges: Vec<String>,
    /// Where record and host contradict each other, each with what to do.
    pub(crate) doubts: Vec<String>,
}

/// One of its networks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NetworkStatus {
    pub(crate) name: String,
    pub(crate) bridge: String,
    pub(crate) subnet: Ipv4Network,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) prefix6: Option<Ipv6Network>,
    pub(crate) gateway6: Option<Ipv6Addr>,
    pub(crate) isolated: bool,
    /// In bytes.
    pub(crate) mtu: u32,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NodeStatus {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    /// In words: `ready`, `running (identity)`, `stopped (3 s ago: …)`.
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    /// What is known of its record; none without one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<MachineStatus>,
    /// Why it stands still, when it does.
    pub(crate) paused: Option<String>,
    pub(crate) vitals: VitalsStatus,
    /// How it last ended, or rebooted.
    pub(crate) last_end: Option<EndStatus>,
}

/// What a node is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MachineStatus {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: String,
    pub(crate) vcpus: u32,
    /// In bytes.
    pub(crate) ram: u64,
    /// Its virtual size in bytes.
    pub(crate) disk: u64,
    pub(crate) nics: Vec<NicStatus>,
}

/// A node's NIC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NicStatus {
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: String,
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) tap: String,
}

/// How well a node keeps up with its host: fractions and seconds, null where nothing is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct VitalsStatus {
    /// The share of the last seconds that its vcpus waited for a core of the host.
    pub(crate) steal: Option<f64>,
    /// Seconds that the guest's clock is ahead of the host's.
    pub(crate) clock_drift: Option<f64>,
    /// The drift is known no better than this, in seconds.
    pub(crate) clock_drift_error: Option<f64>,
    /// The guest's load average over a minute.
    pub(crate) load: Option<f64>,
}

/// An end of a node's QEMU, or a reboot of its guest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EndStatus {
    pub(crate) cause: Cause,
    /// The cause in words.
    pub(crate) what: String,
    /// Seconds since 1970.
    pub(crate) time: f64,
}

/// What there is to say of a cluster's firewall rules.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct FirewallStatus {
    /// Rules and switches that are gone at this moment.
    pub(crate) missing: Vec<String>,
    /// Other programs' rules that are in the way.
    pub(crate) obstacles: Vec<String>,
    /// What was added to other programs' rules.
    pub(crate) among_others: Vec<String>,
    /// What was lost while the cluster ran, and restored, the last time.
    pub(crate) restored: Option<RestoredStatus>,
}

/// Rules that other programs took away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RestoredStatus {
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// How often until now.
    pub(crate) times: u64,
    pub(crate) what: Vec<String>,
}

//! All clusters of this host, which `kvmc ls` shows and prints as JSON.

use std::path::PathBuf;

use ipnetwork::Ipv4Network;
use schemars::JsonSchema;
use serde::Serialize;

/// All clusters of a state folder.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ClusterList {
    pub(crate) schema: u32,
    /// Sorted by name.
    pub(crate) clusters: Vec<ClusterRow>,
    /// What to do where there is no cluster.
    #[serde(skip)]
    pub(crate) hint: Option<String>,
}

/// A cluster in short. What its record does not tell is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ClusterRow {
    pub(crate) cluster: String,
    /// The phase in its record. If the record cannot be used: `damaged`, `foreign` (of a newer kvmc), `denied` (of
    /// another user), `starting` (not written yet) or `remains` (missing).
    pub(crate) phase: String,
    /// Number of nodes whose QEMU runs.
    pub(crate) running: usize,
    pub(crate) nodes: Option<usize>,
    /// The bridge and subnet of the main network.
    pub(crate) bridge: Option<String>,
    #[schemars(with = "Option<String>")]
    pub(crate) subnet: Option<Ipv4Network>,
    /// RAM of all nodes in bytes.
    pub(crate) ram: Option<u64>,
    /// When its folder was made, in seconds since 1970.
    pub(crate) created: Option<f64>,
    /// The folder with the files for Ansible and ssh.
    pub(crate) project: Option<PathBuf>,
    /// The cluster that it was forked from.
    pub(crate) fork_of: Option<String>,
    /// What is wrong with its record, with the cure.
    pub(crate) why: Option<String>,
}

//! A node that the keeper attends, and its connections.

use std::time::Duration;

use kvmc_qmp::Client;

use super::console::Console;
use super::status::Status;
use crate::node::Identity;
use crate::state::{ClusterDir, NetworkRecord, NodeDir, NodeRecord};
use crate::warm;

/// What a node's task needs to know.
#[derive(Debug, Clone)]
pub(super) struct Attended {
    /// The names' domain.
    pub(super) domain: String,
    pub(super) cluster_dir: ClusterDir,
    pub(super) dir: NodeDir,
    pub(super) node: NodeRecord,
    /// Of its NICs, in their order.
    pub(super) networks: Vec<NetworkRecord>,
    /// Its QEMU.
    pub(super) process: Identity,
    /// From when all nodes are ready until what stands still in it goes on.
    pub(super) rest: Duration,
    /// From then to the start of its journal.
    pub(super) journal: Duration,
    /// The frozen machines.
    pub(super) store: warm::Store,
    pub(super) status: Status,
}

/// The connections to one node, once there are any.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    pub(super) qmp: Option<Client>,
    pub(super) agent: Option<Client>,
    pub(super) console: Option<Console>,
}

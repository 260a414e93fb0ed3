//! A node that the keeper attends, and its connections.

use std::time::Duration;

use kvmc_qmp::Client;

use super::console::Console;
use super::status::Status;
use crate::node::Identity;
use crate::state::{ClusterDir, NetworkRecord, NodeDir, NodeRecord};
use crate::warm;

/// What the task of a node needs to know.
#[derive(Debug, Clone)]
pub(super) struct Attended {
    /// The domain of the cluster's names.
    pub(super) domain: String,
    pub(super) cluster_dir: ClusterDir,
    pub(super) dir: NodeDir,
    pub(super) node: NodeRecord,
    /// The networks of its NICs, in the same order.
    pub(super) networks: Vec<NetworkRecord>,
    pub(super) process: Identity,
    /// The boot id that it shows if it wakes.
    pub(super) boot_id: String,
    /// Time from when all nodes are ready until the stopped programs of a woken node resume.
    pub(super) rest: Duration,
    /// Time from then to the start of the journal.
    pub(super) journal: Duration,
    pub(super) store: warm::Store,
    pub(super) status: Status,
}

/// The connections to one node, `None` until they are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    pub(super) qmp: Option<Client>,
    pub(super) agent: Option<Client>,
    pub(super) console: Option<Console>,
}

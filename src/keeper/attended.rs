//! A node that the keeper attends, and its connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kvmc_qmp::Client;
use tokio::sync::{mpsc, watch};

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
    pub(super) console: Console,
    pub(super) status: Status,
    /// How it is restored, if it is.
    pub(super) restoring: Option<Restoring>,
    /// Becomes true when the keeper is to leave this QEMU, because another takes its place.
    pub(super) leaving: watch::Receiver<bool>,
}

/// What a node that is restored needs to know.
#[derive(Debug, Clone)]
pub(super) struct Restoring {
    /// The folder with the nodes' streams.
    pub(super) folder: PathBuf,
    /// The guest's clock stays as it was.
    pub(super) keeps_clock: bool,
    /// The QEMUs stood by, and have loaded their states already.
    pub(super) ahead: bool,
    /// Takes the outcome of each node's loading.
    pub(super) loaded: mpsc::Sender<(String, Result<(), String>)>,
    /// Becomes true when all guests run.
    pub(super) runs: watch::Receiver<bool>,
}

/// The connections to one node, `None` until they are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    pub(super) qmp: Option<Client>,
    pub(super) agent: Option<Client>,
    /// Set before kvmc itself stops the guest. QEMU's event about that clears it.
    pub(super) stops: Arc<AtomicBool>,
}

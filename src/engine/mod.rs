//! The interface between verbs and the engine that runs the machines. [`local`] runs them on this host.

mod changed;
pub(crate) mod local;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

pub(crate) use self::changed::until_unchanged;
pub(crate) use self::local::Local;
use crate::image::PullOptions;
use crate::model::{
    ClusterStatus, CopyReport, DownReport, ExecOutput, ExecReport, ForwardReport, LogOutput,
    NodeAddresses, PlanReport, Shown, StopReport, SyncReport, TieKind, TieReport, TieStatus,
    UpReport,
};
pub(crate) use crate::plan::Scope;
use crate::project::Inventory;
use crate::spec::{Forward, Layer, Settings};

/// A request for `up`.
#[derive(Debug, Clone)]
pub(crate) struct UpRequest {
    pub(crate) settings: Settings,
    /// The folder for the files of Ansible and ssh.
    pub(crate) project: PathBuf,
    /// How images are downloaded.
    pub(crate) pull: PullOptions,
    pub(crate) start: StartOptions,
}

/// Options for starting nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartOptions {
    /// Time that each node has to become ready; `None` means the accelerator's default.
    pub(crate) timeout: Option<Duration>,
    /// Boot every node instead of waking it from a frozen machine.
    pub(crate) cold: bool,
    /// Start even if memory may not suffice.
    pub(crate) overcommit: bool,
    /// The nodes to start.
    pub(crate) scope: Scope,
    /// Time that a removed node has to power off; `None` means the default.
    pub(crate) patience: Option<Duration>,
    pub(crate) consent: Consent,
}

/// The nodes that the user has agreed to remove with their data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Consent {
    #[default]
    None,
    Nodes(Vec<String>),
    All,
}

impl Consent {
    /// Whether it covers the removal of a node.
    pub(crate) fn covers(&self, node: &str) -> bool {
        match self {
            Self::None => false,
            Self::Nodes(nodes) => nodes.iter().any(|n| n == node),
            Self::All => true,
        }
    }
}

/// The life of one cluster.
#[async_trait(?Send)]
pub(crate) trait Lifecycle {
    /// The settings that the cluster was made from, or `None` if there is no cluster.
    ///
    /// # Errors
    /// Fails if the cluster's record cannot be read.
    fn made_of(&self) -> Result<Option<Layer>>;

    /// What [`Self::up`] would do. `out` is a file for [`Self::carry_out`].
    ///
    /// # Errors
    /// Fails at an obstacle, with its cure, and if the file cannot be written.
    async fn plan(&self, request: UpRequest, out: Option<&Path>) -> Result<PlanReport>;

    /// Does what a saved plan says.
    ///
    /// # Errors
    /// Fails if the file is no plan of this cluster, if the cluster has changed since, and like [`Self::up`].
    async fn carry_out(
        &self,
        plan: &Path,
        pull: PullOptions,
        options: StartOptions,
    ) -> Result<UpReport>;

    /// Creates the cluster, or completes it and starts what does not run.
    ///
    /// # Errors
    /// Fails if the cluster as a whole cannot be made; everything that this run made is removed then. Nodes that fail
    /// are in the report. Fails with [`crate::model::RemovesNodes`] before a change that nobody has agreed to.
    async fn up(&self, request: UpRequest) -> Result<UpReport>;

    /// Starts a stopped cluster, or only some nodes by their names and groups.
    ///
    /// # Errors
    /// Like [`Self::up`].
    async fn start(&self, nodes: &[String], options: StartOptions) -> Result<UpReport>;

    /// Shuts all nodes down, each within `patience`; disks and addresses stay. With names, the rest of the cluster goes
    /// on, and these nodes stay stopped until they are started.
    ///
    /// # Errors
    /// Fails if there is no such cluster or node, or if another verb works on it.
    async fn stop(&self, nodes: &[String], patience: Duration) -> Result<StopReport>;

    /// Removes the cluster: nodes, network, files.
    ///
    /// # Errors
    /// Fails if another verb works on the cluster. Errors of a removal are in the report.
    async fn down(&self) -> Result<DownReport>;

    /// The cluster's state on the host. What is broken is part of the answer.
    ///
    /// # Errors
    /// Fails if there is no such cluster.
    async fn status(&self) -> Result<ClusterStatus>;
}

/// Changes of a cluster's size.
#[async_trait(?Send)]
pub(crate) trait Size {
    /// Sets numbers of nodes, by role, prefix or group. The last nodes leave; no other node is touched.
    ///
    /// # Errors
    /// Fails without a change at an unknown role or a number that does not fit, and like [`Lifecycle::up`].
    async fn scale(&self, counts: &[(String, String)], options: StartOptions) -> Result<UpReport>;

    /// Removes nodes by their names.
    ///
    /// # Errors
    /// Fails without a change at an unknown node, or if too few would be left, and like [`Lifecycle::up`].
    async fn remove(&self, nodes: &[String], options: StartOptions) -> Result<UpReport>;
}

/// A request for `exec`.
#[derive(Debug, Clone)]
pub(crate) struct ExecRequest {
    /// Names of nodes and groups; none mean all nodes.
    pub(crate) targets: Vec<String>,
    /// The command and its arguments, which the node's shell reads as one line.
    pub(crate) command: Vec<String>,
    /// Seconds that each node has.
    pub(crate) timeout: Option<u64>,
    /// Every node gets all of this process's input.
    pub(crate) stdin: bool,
}

/// A request for `cp`.
#[derive(Debug, Clone)]
pub(crate) struct CopyRequest {
    /// Paths of this host, and `NODE:PATH`.
    pub(crate) sources: Vec<String>,
    pub(crate) target: String,
    /// Keep times and modes.
    pub(crate) preserve: bool,
}

/// A request for `sync`.
#[derive(Debug, Clone)]
pub(crate) struct SyncRequest {
    /// A folder of this host.
    pub(crate) folder: PathBuf,
    /// `NODE:PATH` or `GROUP:PATH`.
    pub(crate) target: String,
    /// What is left out, as lines of a `.gitignore`.
    pub(crate) exclude: Vec<String>,
    /// Remove on the nodes what the folder does not hold.
    pub(crate) delete: bool,
    /// Only tell what would be done.
    pub(crate) dry_run: bool,
    /// Go on with every change, until a signal comes.
    pub(crate) watch: bool,
    /// The time that a node that was lost has to come back.
    pub(crate) patience: Duration,
}

/// A request for `mount` or `share`.
#[derive(Debug, Clone)]
pub(crate) struct TieRequest {
    pub(crate) kind: TieKind,
    /// `NODE:PATH`; for `share` also `GROUP:PATH`.
    pub(crate) place: String,
    /// A folder of this host.
    pub(crate) folder: PathBuf,
    pub(crate) read_only: bool,
}

/// A request for `logs`.
#[derive(Debug, Clone)]
pub(crate) struct LogRequest {
    /// Names of nodes and groups; none mean all nodes and the cluster itself.
    pub(crate) targets: Vec<String>,
    pub(crate) follow: bool,
    /// Include the guests' journals.
    pub(crate) journal: bool,
    /// Seconds since 1970.
    pub(crate) since: Option<f64>,
    /// Most lines of each node.
    pub(crate) lines: Option<usize>,
}

/// A console that is viewed. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Console {
    /// The sender is dropped when the cluster ends.
    pub(crate) shown: mpsc::Receiver<Shown>,
    pub(crate) typed: mpsc::Sender<Vec<u8>>,
    /// Rows and columns of the viewer's window.
    pub(crate) size: watch::Sender<Option<(u16, u16)>>,
}

/// Access to nodes. Targets are names of nodes and groups.
#[async_trait(?Send)]
pub(crate) trait Reach {
    /// The ssh configuration that reaches a node by its name.
    ///
    /// # Errors
    /// Fails if there is no such node, or if it cannot be reached from here.
    fn ssh_config(&self, node: &str) -> Result<PathBuf>;

    /// Notes that this process becomes the ssh of a session on a node, so that verbs can end the session and tell why.
    ///
    /// # Errors
    /// Fails if the note cannot be written. The session works nevertheless.
    fn begin_session(&self, node: &str) -> Result<()>;

    /// The addresses of nodes.
    ///
    /// # Errors
    /// Fails if there is no such node or group.
    fn addresses(&self, targets: &[String]) -> Result<Vec<NodeAddresses>>;

    /// Runs a command on nodes at once. Nodes that fail are in the report.
    ///
    /// # Errors
    /// Fails if there is no such node or group, or if the cluster does not run.
    async fn exec(&self, request: &ExecRequest, output: &dyn ExecOutput) -> Result<ExecReport>;

    /// Copies files and folders between this host and nodes. Copies that fail are in the report.
    ///
    /// # Errors
    /// Fails before it copies if a path or a node does not exist, or if a folder would replace a file.
    async fn copy(&self, request: &CopyRequest) -> Result<CopyReport>;

    /// Brings a folder of nodes to what a folder of this host holds. Nodes that fail are in the report.
    ///
    /// # Errors
    /// Fails if there is no such folder, node or group, if the cluster does not run, and if it was interrupted, with
    /// the nodes that are incomplete.
    async fn sync(&self, request: &SyncRequest) -> Result<SyncReport>;

    /// Lets this host see a folder of a node, or nodes a folder of this host, until the cluster stops. With several
    /// nodes, those that fail are in the report.
    ///
    /// # Errors
    /// Fails if there is no such folder or node, if sshfs lacks, and if the folder is in use.
    async fn tie(&self, request: &TieRequest) -> Result<TieReport>;

    /// Ends what [`Self::tie`] has begun. `what` is the folder of a mount, or the `NODE:PATH` of a share.
    ///
    /// # Errors
    /// Fails if there is no such tie.
    async fn untie(&self, kind: TieKind, what: &str) -> Result<TieStatus>;

    /// Adds the line that includes the cluster's ssh configuration to the user's, or removes it. Returns the user's
    /// file and whether it changed.
    ///
    /// # Errors
    /// Fails if there is no such cluster, or if the file is not the user's own.
    fn include_ssh_config(&self, wanted: bool) -> Result<(PathBuf, bool)>;

    /// The end of what a node's console has shown.
    ///
    /// # Errors
    /// Fails if there is no such node.
    fn console_history(&self, node: &str) -> Result<Vec<u8>>;

    /// Opens a node's console, which begins with its history.
    ///
    /// # Errors
    /// Fails if the node does not run, or if the keeper does not answer.
    async fn console(&self, node: &str) -> Result<Console>;

    /// Shows the logs of nodes, and of the cluster. Returns whether a signal ended it.
    ///
    /// # Errors
    /// Fails if there is no such node or group.
    async fn logs(&self, request: &LogRequest, output: &dyn LogOutput) -> Result<bool>;

    /// The cluster's inventory for Ansible.
    ///
    /// # Errors
    /// Fails if there is no such cluster.
    fn inventory(&self) -> Result<Inventory>;

    /// The file with the inventory as it is now, whatever the user made of the one in the project's folder.
    ///
    /// # Errors
    /// Fails if there is no such cluster, or if its nodes cannot be reached from here.
    fn inventory_file(&self) -> Result<PathBuf>;
}

/// Forwards from ports of the host to nodes, for engines that have them.
#[async_trait(?Send)]
pub(crate) trait Forwarding {
    /// All forwards of the cluster.
    ///
    /// # Errors
    /// Fails if there is no such cluster.
    fn forwards(&self) -> Result<Vec<ForwardReport>>;

    /// Adds forwards, at once if the cluster runs.
    ///
    /// # Errors
    /// Fails without a change if a port is taken or a node does not exist.
    async fn add_forwards(&self, forwards: &[Forward]) -> Result<Vec<ForwardReport>>;

    /// Removes forwards. A name is the whole forward or its host side.
    ///
    /// # Errors
    /// Fails without a change if there is no such forward.
    async fn remove_forwards(&self, names: &[String]) -> Result<()>;
}

/// Everything that an engine can do.
pub(crate) trait Engine: Lifecycle + Size + Reach {
    /// `None` if the engine does not support forwards.
    fn forwarding(&self) -> Option<&dyn Forwarding> {
        None
    }
}

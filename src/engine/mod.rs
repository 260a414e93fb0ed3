//! The interface between verbs and the engine that runs the machines. [`local`] runs them on this host.

pub(crate) mod local;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

pub(crate) use self::local::Local;
use crate::image::PullOptions;
use crate::model::{ClusterStatus, DownReport, ForwardReport, PlanReport, StopReport, UpReport};
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
}

/// The life of one cluster.
#[async_trait(?Send)]
pub(crate) trait Lifecycle {
    /// The settings that the cluster was made from, or `None` if there is no cluster.
    ///
    /// # Errors
    /// Fails if the cluster's record cannot be read.
    fn made_of(&self) -> Result<Option<Layer>>;

    /// The steps that [`Self::up`] would carry out.
    ///
    /// # Errors
    /// Fails at an obstacle, with its cure.
    async fn plan(&self, request: UpRequest) -> Result<PlanReport>;

    /// Creates the cluster, or completes it and starts what does not run.
    ///
    /// # Errors
    /// Fails if the cluster as a whole cannot be made; everything that this run made is removed then. Nodes that fail
    /// are in the report.
    async fn up(&self, request: UpRequest) -> Result<UpReport>;

    /// Starts a stopped cluster.
    ///
    /// # Errors
    /// Like [`Self::up`].
    async fn start(&self, options: StartOptions) -> Result<UpReport>;

    /// Shuts all nodes down, each within `patience`; disks and addresses stay.
    ///
    /// # Errors
    /// Fails if there is no such cluster, or if another verb works on it.
    async fn stop(&self, patience: Duration) -> Result<StopReport>;

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

/// Access to nodes.
pub(crate) trait Reach {
    /// The ssh configuration that reaches a node by its name.
    ///
    /// # Errors
    /// Fails if there is no such node, or if it cannot be reached from here.
    fn ssh_config(&self, node: &str) -> Result<PathBuf>;
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
pub(crate) trait Engine: Lifecycle + Reach {
    /// `None` if the engine does not support forwards.
    fn forwarding(&self) -> Option<&dyn Forwarding> {
        None
    }
}

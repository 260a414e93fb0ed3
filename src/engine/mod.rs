//! What verbs speak to: whatever runs the machines. [`local`] runs them on this host.

pub(crate) mod local;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

pub(crate) use self::local::Local;
use crate::image::Asked;
use crate::model::{ClusterStatus, DownReport, ForwardReport, PlanReport, StopReport, UpReport};
use crate::spec::{Forward, Layer, Settings};

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub(crate) struct UpRequest {
    pub(crate) settings: Settings,
    /// The folder for the files of Ansible and ssh.
    pub(crate) project: PathBuf,
    /// How images are downloaded.
    pub(crate) pull: Asked,
    pub(crate) start: StartOptions,
}

/// How nodes are started.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartOptions {
    /// What each node has to become ready; none for what suits the accelerator.
    pub(crate) timeout: Option<Duration>,
    /// Boot every node, instead of waking it from a frozen machine.
    pub(crate) cold: bool,
    /// Go ahead though memory may not suffice.
    pub(crate) overcommit: bool,
}

/// The life of one cluster.
#[async_trait(?Send)]
pub(crate) trait Lifecycle {
    /// The settings that the cluster was made of; none where there is no cluster.
    ///
    /// # Errors
    /// What is known of it cannot be read.
    fn made_of(&self) -> Result<Option<Layer>>;

    /// What [`Self::up`] would do.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    async fn plan(&self, request: UpRequest) -> Result<PlanReport>;

    /// Creates the cluster, or completes and starts what is missing.
    ///
    /// # Errors
    /// What kept the cluster as a whole from being made; all that this run made is gone again then. Nodes that fail are
    /// in the report.
    async fn up(&self, request: UpRequest) -> Result<UpReport>;

    /// Starts a cluster that was stopped.
    ///
    /// # Errors
    /// As [`Self::up`].
    async fn start(&self, options: StartOptions) -> Result<UpReport>;

    /// Shuts all nodes down, each within `patience`; disks and addresses stay.
    ///
    /// # Errors
    /// No such cluster, or another verb that works on it.
    async fn stop(&self, patience: Duration) -> Result<StopReport>;

    /// Removes the cluster: nodes, network, files.
    ///
    /// # Errors
    /// Another verb that works on it. What cannot be removed is in the report.
    async fn down(&self) -> Result<DownReport>;

    /// The cluster as it is seen; what is broken is in the answer.
    ///
    /// # Errors
    /// No such cluster.
    async fn status(&self) -> Result<ClusterStatus>;
}

/// The way to nodes.
pub(crate) trait Reach {
    /// The ssh configuration by which a node is reached under its name.
    ///
    /// # Errors
    /// No such node, or one that cannot be reached from here.
    fn ssh_config(&self, node: &str) -> Result<PathBuf>;
}

/// Ports of the host that lead to nodes, where an engine has them.
#[async_trait(?Send)]
pub(crate) trait Forwarding {
    /// All of them.
    ///
    /// # Errors
    /// No such cluster.
    fn forwards(&self) -> Result<Vec<ForwardReport>>;

    /// Adds some, at once if the cluster runs.
    ///
    /// # Errors
    /// A port that something else has, or a node that is not there; nothing has changed then.
    async fn add_forwards(&self, forwards: &[Forward]) -> Result<Vec<ForwardReport>>;

    /// Removes some, named whole or by the host's side.
    ///
    /// # Errors
    /// One that is not there; nothing has changed then.
    async fn remove_forwards(&self, names: &[String]) -> Result<()>;
}

/// All that every engine can do, and what some can.
pub(crate) trait Engine: Lifecycle + Reach {
    /// None where the engine has no forwards of its own.
    fn forwarding(&self) -> Option<&dyn Forwarding> {
        None
    }
}

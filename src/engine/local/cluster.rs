//! A cluster of this host, as all of its verbs begin with it.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use kvmc_netns::Links;

use crate::hint::{advise, command};
use crate::keeper;
use crate::model::{NothingThere, Progress};
use crate::state::{ClusterDir, ClusterRecord, State};
use crate::steps::Host;

/// One cluster of this host, and the images and frozen machines that it shares with the others.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(super) state: State,
    pub(super) cluster: String,
    /// How long to wait for another verb that works on the cluster.
    pub(super) wait: Duration,
    pub(super) progress: Rc<dyn Progress>,
}

impl Local {
    /// A cluster of the state folder that the environment names.
    ///
    /// # Errors
    /// No place for the state.
    pub(crate) fn open(cluster: &str, wait: Duration, progress: Rc<dyn Progress>) -> Result<Self> {
        let is_root = nix::unistd::geteuid().is_root();
        let state = State::locate(|name| std::env::var(name).ok(), is_root)?;
        Ok(Self {
            state,
            cluster: cluster.to_owned(),
            wait,
            progress,
        })
    }

    /// Another cluster of the same state folder.
    pub(crate) fn of(&self, cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            ..self.clone()
        }
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.cluster
    }

    /// The state folder.
    pub(crate) fn root(&self) -> &Path {
        self.state.root()
    }

    pub(super) fn dir(&self) -> ClusterDir {
        self.state.cluster(&self.cluster)
    }

    pub(super) fn host<'a>(&'a self, dir: &'a ClusterDir, links: &'a Links) -> Host<'a> {
        let state = &self.state;
        Host { state, dir, links }
    }

    /// A command of kvmc for this cluster, in back-ticks.
    pub(super) fn command(&self, verb: &str) -> String {
        command(&self.cluster, verb)
    }

    /// The cluster's record; none where there is no cluster.
    pub(super) fn load(&self) -> Result<Option<ClusterRecord>> {
        ClusterRecord::load(&self.dir())
    }

    /// The cluster's record, where a cluster must be.
    pub(super) fn require(&self) -> Result<ClusterRecord> {
        self.load()?.map_or_else(|| Err(self.nothing_there()), Ok)
    }

    pub(super) fn nothing_there(&self) -> anyhow::Error {
        let nothing = NothingThere(format!("there is no cluster `{}`", self.cluster));
        advise(nothing.into(), format!("{} makes it", self.command("up")))
    }

    /// What is said of a cluster that `down` has begun to remove.
    pub(super) fn half_removed(&self) -> anyhow::Error {
        advise(
            anyhow::anyhow!("cluster `{}` is half removed", self.cluster),
            format!("{} goes on with that", self.command("down")),
        )
    }

    /// Serves a cluster until it is told to end: the keeper's whole life.
    ///
    /// # Errors
    /// The folder is not this cluster's, or what keeps the keeper from serving.
    pub(crate) async fn serve(&self, folder: &str) -> Result<()> {
        let dir = self.dir();
        anyhow::ensure!(
            dir.path() == Path::new(folder),
            "the keeper is started by other verbs"
        );
        let root = self.state.root().to_owned();
        keeper::run(root, dir, self.cluster.clone()).await
    }
}

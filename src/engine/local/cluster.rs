//! A cluster of this host.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use kvmc_netns::{Links, outside};

use crate::hint::{add_hint, command};
use crate::interrupt::Interrupt;
use crate::keeper;
use crate::model::{Interrupted, NothingThere, Progress};
use crate::state::{ClusterDir, ClusterRecord, Lock, OF_ROOT, State, private_dir};
use crate::steps::Host;

/// A cluster of this host, with the images and frozen machines that all clusters share.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(super) state: State,
    pub(super) cluster: String,
    /// How long to wait for another verb that works on the cluster.
    pub(super) wait: Duration,
    pub(super) progress: Rc<dyn Progress>,
}

impl Local {
    /// Opens a cluster in the state folder that the environment names.
    ///
    /// # Errors
    /// Fails if there is no place for the state.
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

    /// The file for what verbs tell with `--verbose`; none where there is no state folder yet.
    pub(crate) fn log_file(read: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let is_root = nix::unistd::geteuid().is_root();
        let state = State::locate(read, is_root).ok()?;
        private_dir(state.root()).ok()?;
        Some(state.log())
    }

    #[cfg(test)]
    pub(super) fn at(
        root: &Path,
        cluster: &str,
        wait: Duration,
        progress: Rc<dyn Progress>,
    ) -> Self {
        Self {
            state: State::at(root),
            cluster: cluster.to_owned(),
            wait,
            progress,
        }
    }

    /// Another cluster in the same state folder.
    pub(crate) fn of(&self, cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            ..self.clone()
        }
    }

    /// Moves this thread into the network namespace of the cluster if it is a fork, else back out of one.
    ///
    /// # Errors
    /// Fails without the right to do so.
    pub(crate) fn enter(&self) -> Result<()> {
        self.dir().enter_namespace()
    }

    /// Moves this thread out of a fork's namespace.
    ///
    /// # Errors
    /// Fails without the right to do so.
    pub(crate) fn leave(&self) -> Result<()> {
        Ok(outside::leave()?)
    }

    pub(crate) fn name(&self) -> &str {
        &self.cluster
    }

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

    /// The cluster's record, or `None` if there is no cluster.
    pub(super) fn load(&self) -> Result<Option<ClusterRecord>> {
        ClusterRecord::load(&self.dir())
    }

    /// The cluster's record; it is an error if there is no cluster.
    pub(super) fn require(&self) -> Result<ClusterRecord> {
        self.load()?.map_or_else(|| Err(self.nothing_there()), Ok)
    }

    /// The cluster's lock, and its record as it is under the lock.
    ///
    /// # Errors
    /// Fails if another verb holds the lock, if a signal comes, or if the cluster was removed meanwhile.
    pub(super) async fn lock(
        &self,
        verb: &str,
        interrupt: &mut Interrupt,
    ) -> Result<(ClusterRecord, Lock)> {
        let dir = self.dir();
        let lock = tokio::select! {
            lock = Lock::take(&dir, verb, self.wait) => lock?,
            () = interrupt.wait() => {
                return Err(Interrupted("the cluster is unchanged".to_owned()).into());
            }
        };
        match self.load()? {
            Some(record) => {
                dir.check_entered(&record)?;
                Ok((record, lock))
            }
            None => {
                lock.abandon();
                bail!(
                    "cluster `{}` was removed while `{verb}` waited for it",
                    self.cluster
                )
            }
        }
    }

    pub(super) fn nothing_there(&self) -> anyhow::Error {
        let nothing = NothingThere(format!("there is no cluster `{}`", self.cluster));
        let nothing = add_hint(nothing.into(), format!("{} creates it", self.command("up")));
        if nix::unistd::geteuid().is_root() || !Path::new(OF_ROOT).exists() {
            return nothing;
        }
        let status = self.command("status");
        let sudo = format!("`sudo {}`", status.trim_matches('`'));
        add_hint(
            nothing,
            format!("root has clusters of its own; {sudo} shows them"),
        )
    }

    /// The error for a cluster that an interrupted `down` has begun to remove.
    pub(super) fn half_removed(&self) -> anyhow::Error {
        add_hint(
            anyhow::anyhow!("cluster `{}` is partly removed", self.cluster),
            format!("{} removes the rest", self.command("down")),
        )
    }

    /// Serves a cluster until the keeper is told to end.
    ///
    /// # Errors
    /// Fails if the folder is not this cluster's, or if the keeper cannot serve.
    pub(crate) async fn serve(&self, folder: &str) -> Result<()> {
        let dir = self.dir();
        anyhow::ensure!(
            dir.path() == Path::new(folder),
            "only other verbs start the keeper"
        );
        let root = self.state.root().to_owned();
        keeper::run(root, dir, self.cluster.clone()).await
    }
}

//! `fork`: gives a second cluster the nodes of a snapshot. It has links to the snapshot's files, so it lies on them
//! whatever becomes of the first cluster, and nobody writes to an image that has several links.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::save::{check_runs, next_number};
use super::{SaveRequest, fits, folder};
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::hint::bail_with_hint;
use crate::ids::uid;
use crate::interrupt::Interrupt;
use crate::model::{Forked, Interrupted, Usage};
use crate::network::{check_namespace, outlet_name};
use crate::snapshot::{Manifest, Name};
use crate::spec::validate_cluster_name;
use crate::state::{
    ClusterDir, ClusterRecord, Fork, Found, HostRecord, Lock, NO_NAMESPACE, Phase, Restoration,
    private_dir, replace,
};
use crate::steps::folder as cluster_folder;

impl Local {
    /// Makes a cluster of the nodes of a snapshot, which starts next. Without a snapshot it saves one, which only the new
    /// cluster keeps.
    ///
    /// # Errors
    /// Fails without a new cluster if the name is taken, if there is no such snapshot, if it does not fit or a node cannot
    /// be saved, or if it was [`Interrupted`].
    pub(crate) async fn fork(&self, name: &str, from: Option<&Name>) -> Result<Forked> {
        let began = Instant::now();
        let record = self.require()?;
        validate_cluster_name(name).map_err(Usage)?;
        let fork = self.of(name);
        fork.check_free()?;
        let nodes = record.nodes.iter().map(|n| n.name.as_str());
        fork.dir().check_sockets(nodes)?;
        match from {
            Some(from) => {
                check_namespace(&record)?;
                let manifest = folder::named(&self.dir(), &self.cluster, from)?;
                fits::check(self, &as_saved(record), &manifest)?;
            }
            None => self.check_forkable(&record)?,
        }
        let (snapshot, paused) = match from {
            Some(from) => (from.clone(), None),
            None => {
                let saved = self.save_for(name).await?;
                (saved.0, Some(saved.1))
            }
        };
        let made = self.fork_of(&fork, &snapshot).await;
        if paused.is_some()
            && let Err(why) = self.remove_snapshot(&snapshot).await
        {
            let rm = self.command(&format!("snapshot rm {snapshot}"));
            self.progress.say(&format!(
                "warning: the snapshot {snapshot}, which only the fork needs, is still there: {why:#}; {rm} removes it"
            ));
        }
        failpoint!("fork.snapshot");
        Ok(Forked {
            name: name.to_owned(),
            of: self.cluster.clone(),
            snapshot: snapshot.to_string(),
            nodes: made?,
            paused,
            took: began.elapsed(),
        })
    }

    /// Makes a fork of a snapshot, and returns the number of its nodes. If it fails, there is none.
    async fn fork_of(&self, fork: &Self, snapshot: &Name) -> Result<usize> {
        let mut interrupt = Interrupt::listen()?;
        let (mut record, lock) = self.lock("fork", &mut interrupt).await?;
        if record.phase == Phase::Removing {
            return Err(self.half_removed());
        }
        self.recover(&mut record).await?;
        let manifest = folder::named(&self.dir(), &self.cluster, snapshot)?;
        fits::check(self, &as_saved(record.clone()), &manifest)?;
        if interrupt.has_come().await {
            return Err(Interrupted("the cluster is unchanged".to_owned()).into());
        }
        let written = self.make_fork(fork, &record, &manifest).await?;
        drop(lock);
        if let Err(error) = written {
            // The error says more than one of the removal.
            let _down_removes_it = fork.discard().await;
            return Err(error);
        }
        if interrupt.has_come().await {
            fork.discard().await?;
            return Err(Interrupted("there is no fork".to_owned()).into());
        }
        Ok(manifest.nodes.len())
    }

    /// Removes the folder of a fork, unless another verb has started it.
    async fn discard(&self) -> Result<()> {
        let dir = self.dir();
        let _lock = Lock::take(&dir, "fork", self.wait).await?;
        match Found::look(&dir) {
            Found::Whole(record) if record.host.namespace != NO_NAMESPACE => Ok(()),
            _ => cluster_folder::remove(&dir),
        }
    }

    /// Refuses a name that a cluster has, or that something is left of.
    fn check_free(&self) -> Result<()> {
        if self.dir().path().exists() {
            bail_with_hint!(
                format!(
                    "choose another name; {} removes that cluster",
                    self.command("down")
                ),
                "there is a cluster `{}` already",
                self.cluster
            );
        }
        Ok(())
    }

    /// Refuses a cluster that does not run as a whole.
    fn check_forkable(&self, record: &ClusterRecord) -> Result<()> {
        let snapshots = folder::all(&self.dir())?.0;
        if record.phase == Phase::Stopped
            && let Some(last) = snapshots.last()
        {
            let from = format!("fork --from {} NAME", last.name);
            bail_with_hint!(
                format!("{} forks its last snapshot", self.command(&from)),
                "cluster `{}` is stopped; only a running one or a snapshot can be forked",
                self.cluster
            );
        }
        check_runs(self, record)
    }

    /// Saves a snapshot for a fork. Returns its name, and how long the guests stood still.
    async fn save_for(&self, fork: &str) -> Result<(Name, Duration)> {
        let name = format!("fork-{fork}").parse::<Name>().ok();
        let is_free = |name: &Name| !self.dir().snapshot(name.as_str()).exists();
        let request = SaveRequest {
            name: name.filter(is_free),
            note: format!("the state that cluster {fork} began from"),
            keep: None,
        };
        let saved = self.save_snapshot(&request).await?;
        let name = saved.name.parse().map_err(anyhow::Error::msg)?;
        failpoint!("fork.saved");
        Ok((name, saved.paused))
    }

    /// Writes the new cluster's folder. Until its last step the record says that the cluster is to be removed.
    ///
    /// # Errors
    /// Fails before anything is written. The inner result is that of writing.
    async fn make_fork(
        &self,
        fork: &Self,
        record: &ClusterRecord,
        manifest: &Manifest,
    ) -> Result<Result<()>> {
        let dir = fork.dir();
        let lock = Lock::take(&dir, "fork", fork.wait).await?;
        if dir.record().exists() {
            fork.check_free()?;
        }
        let written = self.write_fork(fork, record, manifest);
        drop(lock);
        Ok(written)
    }

    fn write_fork(&self, fork: &Self, record: &ClusterRecord, manifest: &Manifest) -> Result<()> {
        let (from, dir) = (self.dir(), fork.dir());
        let mut record = as_saved(record.clone());
        record.phase = Phase::Removing;
        record.spec = record.spec.forked(&fork.cluster);
        record.project = dir.path().to_owned();
        record.forwards = Vec::new();
        record.snapshot = None;
        record.host = HostRecord {
            namespace: NO_NAMESPACE,
            fork: Some(Fork {
                of: self.cluster.clone(),
                snapshot: manifest.name.to_string(),
                outside: NO_NAMESPACE,
                link: outlet_name(&dir),
                transit: None,
                transit6: None,
            }),
            ..HostRecord::default()
        };
        for (node, number) in record.nodes.iter_mut().zip(0..) {
            node.uid = uid(dir.path(), number);
        }
        record.save(&dir)?;
        failpoint!("fork.record");
        link_nodes(&from, &dir, &record, manifest)?;
        link_snapshot(&from, &dir, manifest)?;
        copy_files(&from, &dir, &record)?;
        failpoint!("fork.files");
        record.phase = Phase::Stopped;
        let restoration = Restoration {
            snapshot: Some(manifest.name.to_string()),
            number: next_number(&record)?,
            keeps_clock: false,
        };
        fork.decide(&restoration, manifest, None, &mut record)?;
        failpoint!("fork.decided");
        Ok(())
    }
}

/// A cluster as its snapshots have it: all of its nodes run.
fn as_saved(mut record: ClusterRecord) -> ClusterRecord {
    record.stopped.clear();
    record
}

/// Gives each node of the new cluster links to the images of its disks, and its seed.
fn link_nodes(
    from: &ClusterDir,
    to: &ClusterDir,
    record: &ClusterRecord,
    manifest: &Manifest,
) -> Result<()> {
    for node in &record.nodes {
        let part = manifest.nodes.get(&node.name);
        let part = part.with_context(|| format!("the snapshot has no node {}", node.name))?;
        let (old, new) = (from.node(&node.name), to.node(&node.name));
        private_dir(new.path())?;
        for image in part.chains.iter().flatten() {
            link(&old.image(image), &new.image(image))?;
        }
        if !new.disk().exists() {
            // It stands for the node's disk, also where no chain needs it.
            link(&old.disk(), &new.disk())?;
        }
        if old.seed().exists() {
            fs_err::copy(old.seed(), new.seed())?;
        }
        folder::sync(new.path())?;
    }
    Ok(())
}

fn link_snapshot(from: &ClusterDir, to: &ClusterDir, manifest: &Manifest) -> Result<()> {
    let name = manifest.name.as_str();
    private_dir(&to.snapshots())?;
    private_dir(&to.snapshot(name))?;
    for entry in fs_err::read_dir(from.snapshot(name))? {
        let entry = entry?;
        link(&entry.path(), &to.snapshot(name).join(entry.file_name()))?;
    }
    folder::sync(&to.snapshot(name))?;
    folder::sync(&to.snapshots())
}

/// Copies the keys, and the users' data for nodes that join later.
fn copy_files(from: &ClusterDir, to: &ClusterDir, record: &ClusterRecord) -> Result<()> {
    let secrets = fs_err::read(from.secrets())?;
    replace(&to.secrets(), &secrets, 0o600)?;
    for role in &record.spec.roles {
        if let Some(data) = from.stored_user_data(&role.name) {
            replace(&to.user_data(&role.name), data.as_bytes(), 0o600)?;
        }
    }
    Ok(())
}

fn link(from: &Path, to: &Path) -> Result<()> {
    let linked = std::fs::hard_link(from, to);
    linked.with_context(|| format!("cannot link {} to {}", to.display(), from.display()))
}

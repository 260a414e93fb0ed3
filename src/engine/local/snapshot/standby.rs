//! QEMUs that stand by while a command is tried. They have loaded the snapshot, so going back only lets them run.
//!
//! `standby.json` is written before anything is made. Whoever finds it, and not the process that it names, removes what
//! belongs to it. The images get names before the record is written, so no later image has the same.

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use kvmc_netns::Links;
use kvmc_qmp::Client;

use super::restore::enter_scope;
use super::save::{chains_of, check_runs, next_number, stack};
use super::{Restore, folder, room, sweep};
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request, Standby, end_others};
use crate::node::{GREETING, Identity, Running, connect_spare, savestate};
use crate::snapshot::{Manifest, Name, feed};
use crate::state::{
    ClusterDir, ClusterRecord, NodeRecord, Restoration, private_dir, remove_file, replace_json,
};

/// A word in the command line of the process that they are for.
const VERB: &str = "try";

/// QEMUs that stand by.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(super) snapshot: Name,
    pub(super) number: u32,
    restore: Restore,
    /// The nodes, with the images in which they would go on.
    pub(super) record: ClusterRecord,
    pub(super) running: Vec<(String, Running)>,
    pub(super) is_loaded: bool,
}

impl Local {
    /// Prepares second QEMUs that can take the places of the running ones, in the state of a snapshot. Nothing starts yet.
    ///
    /// # Errors
    /// Fails without a change if memory is short, if the snapshot does not fit, or if another command is tried.
    pub(crate) async fn stand_by(&self, name: &Name) -> Result<Standing> {
        let mut interrupt = Interrupt::listen()?;
        let (mut record, _lock) = self.lock(VERB, &mut interrupt).await?;
        let dir = self.dir();
        check_runs(self, &record)?;
        let manifest = folder::named(&dir, &self.cluster, name)?;
        if Standby::read(&dir)?.is_some_and(|s| s.is_wanted()) {
            bail!("another command is tried on cluster `{}`", self.cluster);
        }
        room::check_standby(self, &record)?;
        let standby = Standby {
            by: Identity::of_self(VERB)?,
            number: next_number(&record)?,
        };
        replace_json(&dir.standby(), &standby, 0o600)?;
        let made = self.prepare_standby(name, &standby, &manifest, &mut record);
        if made.is_err() {
            remove(&dir, &record)?;
        }
        let made = made?;
        // The keeper ends them if this process is killed.
        let _next_time = Keeper::of(&dir, &self.cluster).ask(&Request::Sync).await;
        Ok(made)
    }

    fn prepare_standby(
        &self,
        name: &Name,
        standby: &Standby,
        manifest: &Manifest,
        record: &mut ClusterRecord,
    ) -> Result<Standing> {
        let dir = self.dir();
        failpoint!("try.file");
        let mut then = record.clone();
        stack(&dir, &mut then, chains_of(record, manifest)?)?;
        failpoint!("try.images");
        // From now on no other image gets this number.
        record.save(&dir)?;
        failpoint!("try.record");
        let from = Restoration {
            snapshot: Some(name.to_string()),
            number: standby.number,
            keeps_clock: false,
        };
        Ok(Standing {
            snapshot: name.clone(),
            number: standby.number,
            restore: Restore::new(from, manifest.clone()),
            record: then,
            running: Vec::new(),
            is_loaded: false,
        })
    }

    /// Ends and removes what stands by for a process that has ended. Called under the lock.
    ///
    /// # Errors
    /// Fails if a process does not end, or if a file cannot be removed.
    pub(in crate::engine::local) async fn end_unwanted_standby(
        &self,
        record: &ClusterRecord,
    ) -> Result<()> {
        let dir = self.dir();
        match Standby::read(&dir) {
            Ok(None) => return Ok(()),
            Ok(Some(standby)) if standby.is_wanted() => return Ok(()),
            // Nobody knows for whom a damaged file's are.
            Ok(Some(_)) | Err(_) => {}
        }
        end_others(&dir, record).await?;
        remove(&dir, record)
    }
}

/// Removes the files of what has ended.
fn remove(dir: &ClusterDir, record: &ClusterRecord) -> Result<()> {
    for node in &record.nodes {
        sweep::remove_folder(dir.node(&node.name).standby().path())?;
    }
    remove_file(&dir.standby())?;
    sweep::remove_images(dir, record)
}

impl Standing {
    /// Starts the QEMUs and loads the snapshot into them, while the nodes run. Gives up where `is_wanted` tells so.
    ///
    /// # Errors
    /// Fails if one cannot be started or loaded. [`Self::end`] ends the others.
    pub(crate) async fn load(&mut self, local: &Local, is_wanted: &dyn Fn() -> bool) -> Result<()> {
        let dir = local.dir();
        let folder = dir.snapshot(self.snapshot.as_str());
        let manifest = folder::named(&dir, local.name(), &self.snapshot)?;
        folder::check_streams(&folder, &manifest)?;
        // The command runs already, and stays where it is.
        enter_scope(&dir).await;
        let memories = self.restore.memories(local, &self.record)?;
        let links = Links::open()?;
        let nodes: Vec<_> = self.restore.nodes(&self.record).cloned().collect();
        for (node, memory) in nodes.iter().zip(memories) {
            tokio::task::yield_now().await;
            if !is_wanted() || !dir.standby().exists() {
                bail!("they are not needed any more");
            }
            let at = dir.node(&node.name).standby();
            private_dir(at.path())?;
            let nics = connect_spare(&self.record, node, &links).await?;
            let started = self
                .restore
                .start_one(local, &self.record, node, (memory, nics), &at)?;
            self.running.push((node.name.clone(), started));
            failpoint!("try.started");
        }
        let loading = join_all(nodes.iter().map(|node| load(&dir, node, &manifest.name))).await;
        loading.into_iter().collect::<Result<()>>()?;
        failpoint!("try.loaded");
        self.is_loaded = true;
        Ok(())
    }

    /// Ends them, and removes what belongs to them.
    ///
    /// # Errors
    /// Fails if a file cannot be removed.
    pub(crate) async fn end(mut self, local: &Local) -> Result<()> {
        for (_, process) in &mut self.running {
            process.kill();
        }
        failpoint!("try.ended");
        let dir = local.dir();
        if !dir.standby().exists() {
            return Ok(());
        }
        let mut interrupt = Interrupt::listen()?;
        let (record, _lock) = local.lock(VERB, &mut interrupt).await?;
        remove(&dir, &record)
    }

    /// As [`Self::end`], by a verb that has the lock.
    ///
    /// # Errors
    /// Like [`Self::end`].
    pub(super) fn end_under_lock(mut self, local: &Local, record: &ClusterRecord) -> Result<()> {
        for (_, process) in &mut self.running {
            process.kill();
        }
        remove(&local.dir(), record)
    }

    /// Removes what says that they stand by, where they do so no more. The record has their images.
    ///
    /// # Errors
    /// Fails if a file cannot be removed.
    pub(super) fn forget(self, local: &Local, record: &ClusterRecord) -> Result<()> {
        let dir = local.dir();
        for node in &record.nodes {
            sweep::remove_folder(dir.node(&node.name).standby().path())?;
        }
        remove_file(&dir.standby())
    }

    /// Why they cannot take the places of the nodes as these are now.
    ///
    /// # Errors
    /// Fails with the reason.
    pub(super) fn check(&mut self, record: &ClusterRecord) -> Result<()> {
        if !self.is_loaded {
            bail!("they were not loaded in time");
        }
        let is_same = |a: &NodeRecord, b: &NodeRecord| {
            let same = (&a.name, &a.uuid, &a.nics) == (&b.name, &b.uuid, &b.nics);
            same && (a.vcpus, a.ram) == (b.vcpus, b.ram)
        };
        let (now, then) = (&record.nodes, &self.record.nodes);
        if now.len() != then.len() || now.iter().zip(then).any(|(a, b)| !is_same(a, b)) {
            bail!("the cluster has other nodes now");
        }
        for (name, process) in &mut self.running {
            if let Some(status) = process.ended() {
                bail!("the one of {name} has ended ({status})");
            }
        }
        Ok(())
    }
}

/// Loads a node's state into the QEMU that stands by for it. The keeper connects to it later.
async fn load(dir: &ClusterDir, node: &NodeRecord, snapshot: &Name) -> Result<()> {
    let loaded = async {
        let at = dir.node(&node.name).standby();
        let (qmp, _events) = Client::connect_qmp(&at.qmp_socket(), None, GREETING).await?;
        let stream = folder::stream(&dir.snapshot(snapshot.as_str()), &node.name);
        // A stream has the guest's pages at most once, and little more.
        let stream = feed(&stream, node.ram.0.saturating_mul(2))?;
        savestate::load_whole(&qmp, stream).await
    };
    loaded.await.with_context(|| {
        format!(
            "the machine that stands by for {} cannot be loaded",
            node.name
        )
    })
}

//! Puts new QEMUs with a saved state in the place of those that run, if any. None of the guests runs before all are loaded.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::Store;
use kvmc_netns::Links;
use nix::sys::signal::Signal;

use super::{fits, folder, memory};
use crate::engine::StartOptions;
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::hint::{add_hint, bail_with_hint};
use crate::keeper::{Keeper, Lead, Request, Step, end_others};
use crate::node::{ConnectedNic, Handle, Identity, Launch, MemorySource, Running, connect, launch};
use crate::plan::Scope;
use crate::snapshot::Manifest;
use crate::state::{
    ClusterDir, ClusterRecord, Found, NodeDir, NodeRecord, Phase, Restoration, read_json,
    remove_file, replace_json,
};
use crate::steps::{node, scope};

/// Time for the kernel to end a process with much memory.
const KILLED: Duration = Duration::from_secs(10);
/// Interval between looks whether a new QEMU has ended.
const LOOK: Duration = Duration::from_millis(50);

/// A decided restore.
#[derive(Debug)]
pub(in crate::engine::local) struct Restore {
    from: Restoration,
    manifest: Manifest,
}

/// What is to be restored when the cluster starts, if anything: what a verb decided that was ended early, or a suspended
/// cluster.
///
/// # Errors
/// Fails if a file cannot be read.
fn resume(local: &Local, record: &ClusterRecord) -> Result<Option<Restore>> {
    let dir = local.dir();
    let Some(from) = Restoration::decided(&dir)? else {
        return Ok(None);
    };
    let folder = from.folder(&dir);
    let manifest = folder::read(&folder)?;
    let manifest = manifest.with_context(|| format!("{} is missing", folder.display()));
    let manifest = manifest.map_err(|error| {
        let cold = local.command("start --cold");
        add_hint(
            error,
            format!("{cold} boots the nodes from their disks instead"),
        )
    })?;
    let restore = Restore { from, manifest };
    restore.check(local, record)?;
    Ok(Some(restore))
}

/// Removes the mark of a rollback that was ended before it was decided.
///
/// # Errors
/// Fails if a file cannot be read or written.
pub(super) fn forget_undecided(dir: &ClusterDir) -> Result<()> {
    match Restoration::decided(dir)? {
        Some(_) => Ok(()),
        // A suspended cluster still is one.
        None if dir.restoring().exists() && dir.suspended().exists() => {
            replace_json(&dir.restoring(), &Restoration::of_suspended(), 0o600)
        }
        None => remove_file(&dir.restoring()),
    }
}

impl Local {
    /// Completes what a verb had decided that was ended early, and removes what others left. Called under the lock.
    ///
    /// # Errors
    /// Fails if a restore cannot be completed.
    pub(in crate::engine::local) async fn recover(&self, record: &mut ClusterRecord) -> Result<()> {
        let dir = self.dir();
        if record.phase == Phase::Removing {
            return Ok(());
        }
        self.end_unwanted_standby(record).await?;
        forget_undecided(&dir)?;
        super::sweep::sweep(&dir, record)?;
        if record.phase != Phase::Stopped
            && let Some(restore) = resume(self, record)?
        {
            let name = restore.manifest.name.to_string();
            self.progress.say(&match restore.from.snapshot {
                Some(_) => format!("completing the rollback to `{name}`"),
                None => "resuming the suspended cluster".to_owned(),
            });
            restore.run(self, record).await?;
        }
        Ok(())
    }
}

impl Restore {
    /// What the nodes go on from instead of booting: the state of a suspended cluster, or a snapshot whose rollback was
    /// ended early. A start that boots all nodes forgets it.
    ///
    /// # Errors
    /// Fails if it does not fit, or if only some nodes are to start.
    pub(in crate::engine::local) fn of_start(
        local: &Local,
        record: &ClusterRecord,
        options: &StartOptions,
    ) -> Result<Option<Self>> {
        let dir = local.dir();
        if options.cold && !matches!(options.scope, Scope::Nodes(_)) {
            remove_file(&dir.restoring())?;
            super::sweep::remove_folder(&dir.suspended())?;
            return Ok(None);
        }
        forget_undecided(&dir)?;
        // This comes first, because the nodes that do not start would not fit.
        if matches!(options.scope, Scope::Nodes(_)) && Restoration::decided(&dir)?.is_some() {
            bail_with_hint!(
                format!("{} resumes it", local.command("start")),
                "cluster `{}` goes on from a saved state only as a whole",
                local.name()
            );
        }
        resume(local, record)
    }

    pub(super) const fn new(from: Restoration, manifest: Manifest) -> Self {
        Self { from, manifest }
    }

    /// Checks that what is there fits, and that no stream has changed.
    pub(super) fn check(&self, local: &Local, record: &ClusterRecord) -> Result<()> {
        let checked = fits::check(local, record, &self.manifest)
            .and_then(|()| folder::check_streams(&self.from.folder(&local.dir()), &self.manifest));
        checked.map_err(|error| {
            let cold = local.command("start --cold");
            match self.from.snapshot {
                Some(_) => error,
                None => add_hint(error, format!("{cold} boots the nodes instead")),
            }
        })
    }

    /// Restores all nodes. Their network and keeper are there. Returns how long it took until all ran.
    ///
    /// # Errors
    /// Fails if a node cannot be restored. The next verb tries again.
    pub(in crate::engine::local) async fn run(
        &self,
        local: &Local,
        record: &ClusterRecord,
    ) -> Result<Duration> {
        let took = self.bring_back(local, record).await?;
        if let Some(snapshot) = &self.from.snapshot
            && let Some(line) = local.end_sessions(snapshot).await.line()
        {
            local.progress.say(&line);
        }
        // The images that nobody goes back to.
        super::sweep::remove_images(&local.dir(), record)?;
        Ok(took)
    }

    /// As [`Self::run`], and leaves the images that nobody goes back to.
    pub(super) async fn bring_back(
        &self,
        local: &Local,
        record: &ClusterRecord,
    ) -> Result<Duration> {
        let began = Instant::now();
        let dir = local.dir();
        enter_scope(&dir).await;
        let keeper = Keeper::of(&dir, local.name());
        keeper.ensure().await?;
        let memories = self.memories(local, record)?;
        let mut lead = keeper.lead(&Request::Restore).await?;
        failpoint!("rollback.announced");
        kill(&dir, record).await?;
        failpoint!("rollback.killed");
        let mut running = self.start(local, record, memories).await?;
        failpoint!("rollback.started");
        lead.step(Step::Load).await?;
        loaded(&mut lead, &mut running, &dir).await?;
        failpoint!("rollback.loaded");
        lead.step(Step::Go).await?;
        lead.done().await?;
        failpoint!("rollback.running");
        Ok(began.elapsed())
    }

    /// The memory that each node's stream lies on. That of a running QEMU need not be read again.
    pub(super) fn memories(
        &self,
        local: &Local,
        record: &ClusterRecord,
    ) -> Result<Vec<Option<File>>> {
        let dir = local.dir();
        let mut known: Vec<(String, File)> = Vec::new();
        let parts = record.nodes.iter().filter_map(|node| {
            let part = self.manifest.nodes.get(&node.name)?;
            Some((node, part))
        });
        let mut memories = Vec::new();
        for (node, part) in parts {
            let Some(id) = &part.frozen else {
                memories.push(None);
                continue;
            };
            let found = known.iter().find(|(known, _)| known == id);
            let file = match found {
                Some((_, file)) => file.try_clone()?,
                None => {
                    let is_same = node.base.frozen() == Some(id);
                    let first = first_cluster(local, record, node);
                    let dirs = std::iter::once(dir.clone()).chain(first);
                    let mut mapped = dirs.filter(|_| is_same).map(|dir| mapped(&dir, &node.name));
                    let file = match mapped.find_map(Result::transpose).transpose()? {
                        Some(file) => file,
                        None => memory::of_frozen(local, id)?,
                    };
                    known.push((id.clone(), file.try_clone()?));
                    file
                }
            };
            memories.push(Some(file));
        }
        Ok(memories)
    }

    /// The nodes that it has, in the record's order.
    pub(super) fn nodes<'a>(
        &self,
        record: &'a ClusterRecord,
    ) -> impl Iterator<Item = &'a NodeRecord> {
        let nodes = record.nodes.iter();
        nodes.filter(|node| self.manifest.nodes.contains_key(&node.name))
    }

    /// Starts the QEMUs, which wait for their states.
    async fn start(
        &self,
        local: &Local,
        record: &ClusterRecord,
        memories: Vec<Option<File>>,
    ) -> Result<Vec<(String, Running)>> {
        let dir = local.dir();
        let links = Links::open()?;
        let mut running = Vec::new();
        for (node, memory) in self.nodes(record).zip(memories) {
            let nics = connect(record, node, &links).await?;
            let at = dir.node(&node.name);
            let started = self.start_one(local, record, node, (memory, nics), &at)?;
            running.push((node.name.clone(), started));
        }
        Ok(running)
    }

    /// Starts a QEMU that waits for its state, with sockets and files about it in a folder.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written, or if QEMU cannot be started.
    pub(super) fn start_one(
        &self,
        local: &Local,
        record: &ClusterRecord,
        node: &NodeRecord,
        (memory, nics): (Option<File>, Vec<ConnectedNic>),
        at: &NodeDir,
    ) -> Result<Running> {
        let dir = local.dir();
        let variables = folder::variables(&self.from.folder(&dir), &node.name);
        if variables.exists() {
            fs_err::copy(variables, at.uefi_variables())?;
        }
        let image = Store::open(local.state.root()).get(node.base.image())?;
        let started = launch(Launch {
            cluster: &record.spec.name,
            node,
            dir: &dir.node(&node.name),
            at,
            image: &image,
            backing: &local.frozen().backing(node, &image),
            accelerator: &record.accelerator,
            nics,
            source: MemorySource::Restore(memory),
        });
        started.with_context(|| format!("{} cannot be started", node.name))
    }
}

/// Moves this process to where the new QEMUs outlive its session or service.
pub(super) async fn enter_scope(dir: &ClusterDir) {
    if let Some(scope) = scope::look(dir) {
        let _goes_on_without = scope.enter(dir).await;
    }
}

/// The cluster that a fork was made from, if it still has the node. A fork shares its memory. A cluster of that name may be
/// another one by now.
fn first_cluster(local: &Local, record: &ClusterRecord, node: &NodeRecord) -> Option<ClusterDir> {
    let fork = record.host.fork.as_ref()?;
    let dir = local.state.cluster(&fork.of);
    let Found::Whole(first) = Found::look(&dir) else {
        return None;
    };
    let is_it = |other: &NodeRecord| {
        other.uuid == node.uuid
            && other.name == node.name
            && other.base.frozen() == node.base.frozen()
    };
    first.nodes.iter().any(is_it).then_some(dir)
}

/// The frozen machine's memory that a node's QEMU has mapped, if it runs.
fn mapped(dir: &ClusterDir, node: &str) -> Result<Option<File>> {
    let process = read_json::<Identity>(&dir.node(node).process())?;
    let process = process.filter(|p| p.open().is_some());
    process.map_or(Ok(None), |process| memory::of_qemu(process.pid))
}

/// Kills the QEMUs of all nodes, and waits for their ends.
async fn kill(dir: &ClusterDir, record: &ClusterRecord) -> Result<()> {
    let running: Vec<(&str, Handle)> = record
        .nodes
        .iter()
        .filter_map(|n| Some((n.name.as_str(), node::look(dir, &n.name, &n.uuid)?)))
        .collect();
    if dir.standby().exists() {
        // Those that stood by, and those whose places they had.
        end_others(dir, record).await?;
    }
    for (_, handle) in &running {
        handle.signal(Signal::SIGKILL)?;
    }
    for (name, handle) in &running {
        if !handle.ended(KILLED).await {
            bail!("the QEMU of {name} does not end");
        }
    }
    for node in &record.nodes {
        // A mark of a QEMU that has ended says nothing of the next one.
        remove_file(&dir.node(&node.name).pausing())?;
    }
    Ok(())
}

/// Waits until the keeper has loaded all states.
async fn loaded(
    lead: &mut Lead,
    running: &mut [(String, Running)],
    dir: &ClusterDir,
) -> Result<()> {
    let ended = async {
        loop {
            for (name, process) in running.iter_mut() {
                if let Some(status) = process.ended() {
                    let said = std::fs::read_to_string(dir.node(name).qemu_log());
                    let said = said.unwrap_or_default();
                    return anyhow::anyhow!("{name} cannot be restored: {status}: {}", said.trim());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        loaded = lead.done() => loaded,
        error = ended => Err(error),
    }
}

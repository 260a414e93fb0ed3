//! `snapshot save`: stops all nodes at one instant, copies their memory, and lets them go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvmc_images::qcow2;

use super::pause::{Paused, Prepared, pause, prepare, unchanged};
use super::streams::write_streams;
use super::{folder, sweep};
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::hint::bail_with_hint;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request, Step};
use crate::model::Saved;
use crate::network::check_namespace;
use crate::snapshot::{FORMAT, Manifest, Name};
use crate::state::{ClusterDir, ClusterRecord, Phase, next_image, replace_json};

/// The own images that a disk may have. QEMU opens all of them at each start.
const DEEPEST: usize = 24;

/// What `snapshot save` is to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct SaveRequest {
    /// `None` for the next automatic name.
    pub(crate) name: Option<Name>,
    pub(crate) note: String,
    /// Most snapshots with automatic names to keep.
    pub(crate) keep: Option<usize>,
}

impl Local {
    /// Saves all nodes at one instant. They go on.
    ///
    /// # Errors
    /// Fails without a snapshot if a node is not ready or cannot be saved, or if it was [`Interrupted`]. The nodes go on.
    pub(crate) async fn save_snapshot(&self, request: &SaveRequest) -> Result<Saved> {
        let began = Instant::now();
        check_runs(self, &self.require()?)?;
        let mut interrupt = Interrupt::listen()?;
        let (mut record, _lock) = self.lock("snapshot save", &mut interrupt).await?;
        self.recover(&mut record).await?;
        check_runs(self, &record)?;
        let dir = self.dir();
        let name = self.free_name(request.name.as_ref())?;
        let made = self.save_as(&name, request, &mut record, &mut interrupt);
        let saved = match made.await {
            Ok(saved) => saved,
            Err(error) => {
                // Where the keeper has ended, a new one lets the guests go on.
                let keeper = Keeper::of(&dir, &self.cluster);
                let _told_by_the_next_verb = keeper.ensure().await;
                let _only_sooner = keeper.ask(&Request::Sync).await;
                sweep::sweep(&dir, &mut record)?;
                return Err(error);
            }
        };
        let removed = match request.keep {
            Some(keep) => self.remove_oldest(keep, &record)?,
            None => Vec::new(),
        };
        Ok(Saved {
            removed,
            took: began.elapsed(),
            ..saved
        })
    }

    /// The name for a new snapshot.
    fn free_name(&self, wanted: Option<&Name>) -> Result<Name> {
        let dir = self.dir();
        let is_taken = |name: &Name| dir.snapshot(name.as_str()).exists();
        if let Some(name) = wanted {
            if is_taken(name) {
                let rm = self.command(&format!("snapshot rm {name}"));
                bail_with_hint!(
                    format!("{rm} removes it"),
                    "cluster `{}` has a snapshot `{name}` already",
                    self.cluster
                );
            }
            return Ok(name.clone());
        }
        let names = (1_u32..).filter_map(|n| automatic(n).parse::<Name>().ok());
        let mut free = names.filter(|name| !is_taken(name));
        free.next().context("no name is free for the snapshot")
    }

    async fn save_as(
        &self,
        name: &Name,
        request: &SaveRequest,
        record: &mut ClusterRecord,
        interrupt: &mut Interrupt,
    ) -> Result<Saved> {
        let dir = self.dir();
        let Prepared {
            keeper,
            sources,
            present,
            unfinished,
        } = prepare(self, record).await?;
        failpoint!("snapshot.folder");
        let before: Vec<_> = record.nodes.iter().map(|n| n.all_chains()).collect();
        let parent = record.snapshot.clone();
        add_images(&dir, record, &self.cluster)?;
        failpoint!("snapshot.images");
        record.snapshot = Some(name.to_string());
        record.save(&dir)?;
        failpoint!("snapshot.record");
        let written = async {
            let pause = pause(&keeper, &dir, &sources, Some(name), interrupt);
            let Paused {
                mut lead,
                deltas,
                time,
                stood,
            } = pause.await?;
            let frozen = self.frozen();
            let streams = write_streams(&frozen, record, sources, deltas, &unfinished)?;
            let mut manifest = manifest(name, time);
            manifest.note.clone_from(&request.note);
            manifest.parent = parent.as_ref().and_then(|p| p.parse().ok());
            for written in streams {
                let at = record.nodes.iter().position(|n| n.name == written.node);
                let chains = at.and_then(|at| before.get(at)).cloned();
                let part = written.part(&present, chains.unwrap_or_default())?;
                manifest.nodes.insert(part.0, part.1);
            }
            failpoint!("snapshot.streams");
            if interrupt.has_come().await {
                return Err(unchanged());
            }
            self.finish(&unfinished, name, &manifest)?;
            // The snapshot is there, and the keeper only notes it.
            if lead.step(Step::Written).await.is_ok() {
                let _only_an_event = lead.done().await;
            }
            Ok((manifest, stood))
        };
        let (manifest, paused) = match written.await {
            Ok(written) => written,
            Err(error) => {
                record.snapshot = parent;
                record.save(&dir)?;
                return Err(error);
            }
        };
        failpoint!("snapshot.done");
        Ok(Saved {
            name: name.to_string(),
            nodes: manifest.nodes.len(),
            size: manifest.size(),
            paused,
            took: Duration::ZERO,
            removed: Vec::new(),
        })
    }

    /// Makes the written folder a snapshot.
    fn finish(&self, unfinished: &Path, name: &Name, manifest: &Manifest) -> Result<()> {
        let dir = self.dir();
        replace_json(&unfinished.join(folder::MANIFEST), manifest, 0o600)?;
        fs_err::rename(unfinished, dir.snapshot(name.as_str()))?;
        folder::sync(&dir.snapshots())
    }
}

/// The automatic name with a number.
fn automatic(number: u32) -> String {
    format!("s{number}")
}

/// Whether a name is an automatic one.
pub(super) fn is_automatic(name: &str) -> bool {
    let number = name.strip_prefix('s').and_then(|n| n.parse().ok());
    number.is_some_and(|number| automatic(number) == name)
}

/// A manifest without nodes.
pub(super) fn manifest(name: &Name, time: f64) -> Manifest {
    Manifest {
        format: FORMAT,
        name: name.clone(),
        note: String::new(),
        parent: None,
        time,
        kvmc: env!("CARGO_PKG_VERSION").to_owned(),
        nodes: BTreeMap::new(),
    }
}

/// Refuses to save a cluster that does not run as a whole.
///
/// # Errors
/// Fails with what does not run, and how it starts.
pub(super) fn check_runs(local: &Local, record: &ClusterRecord) -> Result<()> {
    check_namespace(record)?;
    match record.phase {
        Phase::Removing => return Err(local.half_removed()),
        Phase::Stopped => bail_with_hint!(
            format!("{} starts it", local.command("start")),
            "cluster `{}` is stopped; only a running one can be saved",
            local.name()
        ),
        Phase::Starting | Phase::Up => {}
    }
    if let Some(node) = record.stopped.first() {
        bail_with_hint!(
            format!("{} starts it", local.command(&format!("start {node}"))),
            "{node} is stopped; a cluster is saved as a whole"
        );
    }
    Ok(())
}

/// Makes an empty image above each disk of the nodes, and names it in the record, which is not written yet.
///
/// # Errors
/// Fails if a disk has too many images, or if a file cannot be written.
fn add_images(dir: &ClusterDir, record: &mut ClusterRecord, cluster: &str) -> Result<()> {
    for node in &record.nodes {
        if node.depth() >= DEEPEST {
            bail_with_hint!(
                format!(
                    "{} merges those that no snapshot needs",
                    crate::hint::command(cluster, "stop")
                ),
                "the disk of {} has {} images, which is the limit",
                node.name,
                node.depth()
            );
        }
    }
    let chains = record.nodes.iter().map(|n| n.all_chains()).collect();
    stack(dir, record, chains)
}

/// The number of the images that the record names when it is written next. No other image has it.
///
/// # Errors
/// Fails after four thousand million writes.
pub(super) fn next_number(record: &ClusterRecord) -> Result<u32> {
    u32::try_from(record.generation + 1).context("the record was written too often")
}

/// Makes an empty image above each of these chains, one list for each node, and puts them into the record, which is not
/// written yet. The next generation of the record is the number in their names, so no name comes twice.
///
/// # Errors
/// Fails if a file cannot be written.
pub(super) fn stack(
    dir: &ClusterDir,
    record: &mut ClusterRecord,
    chains: Vec<Vec<Vec<String>>>,
) -> Result<()> {
    let number = next_number(record)?;
    for (node, chains) in record.nodes.iter_mut().zip(chains) {
        let node_dir = dir.node(&node.name);
        let mut stacked = Vec::new();
        for (disk, chain) in chains.into_iter().enumerate() {
            let below = chain.first().context("a disk has no image")?;
            let below = node_dir.image(below);
            let size = qcow2::inspect(&below)?.virtual_size;
            let name = next_image(disk, number);
            let path = node_dir.image(&name);
            crate::state::remove_file(&path)?;
            qcow2::create_overlay(&path, &below, size)
                .with_context(|| format!("a new image for {} cannot be made", node.name))?;
            fs_err::File::open(&path)?.sync_all()?;
            stacked.push(std::iter::once(name).chain(chain).collect());
        }
        node.chains = stacked;
        folder::sync(node_dir.path())?;
    }
    Ok(())
}

/// The images that nodes have in a snapshot: for each node those of its disks, the nearest first.
///
/// # Errors
/// Fails if it does not have a node.
pub(super) fn chains_of(
    record: &ClusterRecord,
    manifest: &Manifest,
) -> Result<Vec<Vec<Vec<String>>>> {
    let chains = record.nodes.iter().map(|node| {
        let part = manifest.nodes.get(&node.name);
        let part = part.with_context(|| format!("the snapshot has no node {}", node.name))?;
        Ok(part.chains.clone())
    });
    chains.collect()
}

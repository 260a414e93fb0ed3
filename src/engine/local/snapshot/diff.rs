//! `snapshot diff`: what the nodes have written to their disks since a snapshot.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use kvmc_images::{ChangeKind, Files, changes};

use super::folder;
use crate::engine::local::Local;
use crate::model::{Change, DiskDiff, FileDiff, NodeDiff, SCHEMA, SnapshotDiff};
use crate::snapshot::Name;
use crate::state::{ClusterRecord, NodeRecord, Phase};

/// The two states of a disk, each a chain of images, the nearest first.
struct Disk {
    node: String,
    name: String,
    old: Vec<PathBuf>,
    new: Vec<PathBuf>,
}

impl Local {
    /// Compares the nodes' disks with those of a snapshot. The nodes do not notice.
    ///
    /// # Errors
    /// Fails if there is no such snapshot, or if a disk cannot be read.
    pub(crate) fn diff_snapshot(&self, name: &Name) -> Result<SnapshotDiff> {
        let record = self.require()?;
        Ok(SnapshotDiff {
            schema: SCHEMA,
            cluster: self.cluster.clone(),
            snapshot: name.to_string(),
            running: record.phase == Phase::Up,
            nodes: self.changes_since(&record, name)?,
        })
    }

    /// Compares the disks that a record has with those of a snapshot.
    ///
    /// # Errors
    /// Like [`Self::diff_snapshot`].
    pub(super) fn changes_since(
        &self,
        record: &ClusterRecord,
        name: &Name,
    ) -> Result<Vec<NodeDiff>> {
        let disks = self.disks_of(record, name)?;
        let mut nodes: Vec<NodeDiff> = Vec::new();
        for (node, disk) in compare(disks)? {
            match nodes.last_mut() {
                Some(last) if last.node == node => last.disks.push(disk),
                _ => nodes.push(NodeDiff {
                    node,
                    disks: vec![disk],
                }),
            }
        }
        Ok(nodes)
    }

    /// The disks of all nodes that the snapshot has, in the nodes' order.
    fn disks_of(&self, record: &ClusterRecord, name: &Name) -> Result<Vec<Disk>> {
        let dir = self.dir();
        let manifest = folder::named(&dir, &self.cluster, name)?;
        let mut disks = Vec::new();
        for node in &record.nodes {
            let Some(part) = manifest.nodes.get(&node.name) else {
                continue;
            };
            let folder = dir.node(&node.name);
            let chains = part.chains.iter().zip(node.all_chains());
            for (number, (old, new)) in chains.enumerate() {
                let below = match number {
                    0 => self.below(node)?,
                    _ => Vec::new(),
                };
                let paths = |chain: &[String]| {
                    let own = chain.iter().map(|image| folder.image(image));
                    own.chain(below.iter().cloned()).collect()
                };
                disks.push(Disk {
                    node: node.name.clone(),
                    name: match number {
                        0 => "disk".to_owned(),
                        number => format!("extra{number}"),
                    },
                    old: paths(old),
                    new: paths(&new),
                });
            }
        }
        Ok(disks)
    }

    /// The images below a node's own.
    fn below(&self, node: &NodeRecord) -> Result<Vec<PathBuf>> {
        let image = self.store().get(node.base.image())?;
        Ok(self.frozen().backing(node, &image))
    }
}

/// Compares disks, as many at once as there are cores.
fn compare(disks: Vec<Disk>) -> Result<Vec<(String, DiskDiff)>> {
    let work = Mutex::new(disks.into_iter().enumerate());
    let some = || -> Result<Vec<(usize, (String, DiskDiff))>> {
        let mut done = Vec::new();
        loop {
            let next = work.lock().ok().and_then(|mut work| work.next());
            let Some((place, disk)) = next else {
                return Ok(done);
            };
            let node = disk.node.clone();
            let one = one(disk).with_context(|| format!("a disk of {node} cannot be compared"))?;
            done.push((place, (node, one)));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let done = worker.join();
            all.extend(done.map_err(|_| anyhow!("a thread that compares disks panicked"))??);
        }
        anyhow::Ok(all)
    })?;
    all.sort_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, disk)| disk).collect())
}

fn one(disk: Disk) -> Result<DiskDiff> {
    let found = changes(&disk.old, &disk.new)?;
    let (files, unread) = match found.files {
        Files::Known(files) => (files, None),
        Files::Unknown(why) => (Vec::new(), Some(why)),
    };
    let files = files.into_iter().map(|file| FileDiff {
        path: file.path,
        change: match file.kind {
            ChangeKind::Added => Change::Added,
            ChangeKind::Changed => Change::Changed,
            ChangeKind::Removed => Change::Removed,
        },
    });
    Ok(DiskDiff {
        disk: disk.name,
        bytes: found.bytes,
        files: files.collect(),
        unread,
    })
}

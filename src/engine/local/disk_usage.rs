//! Measures what the files of the state folder take on the host's disk.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use kvmc_images::{Store, allocated};

use super::Local;
use super::counted::Counted;
use super::images::Prunable;
use super::snapshot::snapshot_names;
use crate::model::{DiskKind, DiskRow, DiskUsage, ImageReport, Prune, SCHEMA};
use crate::state::Found;

impl Local {
    /// What each image, frozen machine, node and cluster takes, and what `image prune` would give back.
    ///
    /// # Errors
    /// Fails if the store of images or of frozen machines cannot be read.
    pub(crate) fn disk_usage(&self) -> Result<DiskUsage> {
        let images = self.images()?;
        let (some, all) = (self.prunable(false)?, self.prunable(true)?);
        let below = Below::of(&images);
        let mut rows: Vec<_> = images
            .iter()
            .map(|image| DiskRow {
                kind: DiskKind::Image,
                name: image.names(),
                allocated: image.size,
                shared: image.parent.as_deref().map_or(0, |id| below.image(id)),
                used_by: image.used_by.clone(),
                prune: prune(&image.id, [&some.images, &all.images]),
            })
            .collect();
        let machines = self.frozen().sizes()?;
        rows.extend(machines.iter().map(|(id, size)| DiskRow {
            kind: DiskKind::Frozen,
            name: id.clone(),
            allocated: *size,
            shared: below.frozen.get(id.as_str()).map_or(0, |(_, below)| *below),
            used_by: self.users_of_frozen(id),
            prune: prune(id, [&some.frozen, &all.frozen]),
        }));
        let mut counted = Counted::default();
        let mut clusters: Vec<_> = self.state.cluster_names().into_iter().collect();
        // What a fork shares counts with the first cluster.
        clusters.sort_by_key(|name| self.of(name).is_fork());
        for name in clusters {
            rows.extend(self.of(&name).cluster_disk(&below, &mut counted));
        }
        let store = self.store();
        rows.extend(self.other(&rows));
        Ok(DiskUsage {
            schema: SCHEMA,
            total: rows.iter().map(|row| row.allocated).sum(),
            prune: gives_back(&some, &store, &images, &machines),
            prune_all: gives_back(&all, &store, &images, &machines),
            rows,
        })
    }

    /// The nodes of this cluster, and its other files.
    fn cluster_disk(&self, below: &Below<'_>, counted: &mut Counted) -> Vec<DiskRow> {
        let dir = self.dir();
        let record = Found::look(&dir).record();
        let nodes = record.iter().flat_map(|record| &record.nodes);
        let row = |kind, name: &str, allocated, shared| DiskRow {
            kind,
            name: name.to_owned(),
            allocated,
            shared,
            used_by: Vec::new(),
            prune: Prune::Never,
        };
        let mut rows: Vec<_> = nodes
            .map(|node| {
                let shared = match node.base.frozen() {
                    Some(id) => below.frozen.get(id).map_or(0, |(own, below)| own + below),
                    None => below.image(node.base.image()),
                };
                let (own, linked) = counted.folder(dir.node(&node.name).path());
                let name = format!("{}/{}", self.cluster, node.name);
                row(DiskKind::Node, &name, own, shared + linked)
            })
            .collect();
        rows.extend(snapshot_names(&dir).into_iter().map(|snapshot| {
            let (own, linked) = counted.folder(&dir.snapshot(&snapshot));
            let name = format!("{}/{snapshot}", self.cluster);
            row(DiskKind::Snapshot, &name, own, linked)
        }));
        // The files that are in none of these rows.
        let whole = Counted::default().folder(dir.path()).0;
        let there = |folder: &Path| Counted::default().folder(folder).0;
        let nodes = record.iter().flat_map(|record| &record.nodes);
        let of_nodes = nodes.map(|node| there(dir.node(&node.name).path()));
        let of_snapshots = snapshot_names(&dir).into_iter();
        let of_snapshots = of_snapshots.map(|name| there(&dir.snapshot(&name)));
        let rest = whole.saturating_sub(of_nodes.chain(of_snapshots).sum());
        rows.push(row(DiskKind::Cluster, &self.cluster, rest, 0));
        rows
    }

    /// Whether the cluster is a fork of another.
    fn is_fork(&self) -> bool {
        let record = Found::look(&self.dir()).record();
        record.is_some_and(|record| record.host.fork.is_some())
    }

    /// Everything in the state folder that is in no row.
    fn other(&self, rows: &[DiskRow]) -> Option<DiskRow> {
        let of = |kinds: &[DiskKind]| -> u64 {
            let rows = rows.iter().filter(|row| kinds.contains(&row.kind));
            rows.map(|row| row.allocated).sum()
        };
        let (mut stores, mut rest) = (0, 0);
        let entries = std::fs::read_dir(self.state.root()).into_iter().flatten();
        for entry in entries.flatten() {
            match entry.file_name().to_str() {
                Some("clusters") => {}
                // The folder may be a symbolic link.
                Some("images" | "warm") => stores += allocated(&entry.path()),
                _ => rest += allocated_at(&entry.path()),
            }
        }
        let stores: u64 = stores;
        let bytes = rest + stores.saturating_sub(of(&[DiskKind::Image, DiskKind::Frozen]));
        (bytes > 0).then(|| DiskRow {
            kind: DiskKind::Other,
            name: "downloads, keys, caches".to_owned(),
            allocated: bytes,
            shared: 0,
            used_by: Vec::new(),
            prune: Prune::Never,
        })
    }
}

/// Bytes of images and frozen machines with all that lies below them.
struct Below<'a> {
    images: BTreeMap<&'a str, &'a ImageReport>,
    /// The own bytes of each frozen machine, and those of its images.
    frozen: BTreeMap<&'a str, (u64, u64)>,
}

impl<'a> Below<'a> {
    fn of(images: &'a [ImageReport]) -> Self {
        let mut below = Self {
            images: images.iter().map(|i| (i.id.as_str(), i)).collect(),
            frozen: BTreeMap::new(),
        };
        for image in images {
            let whole = below.image(&image.id);
            let frozen = image.frozen.iter();
            let frozen = frozen.map(|f| (f.id.as_str(), (f.size, whole)));
            below.frozen.extend(frozen);
        }
        below
    }

    /// The bytes of an image and of all images below it.
    fn image(&self, id: &str) -> u64 {
        let mut bytes = 0;
        let mut next = Some(id);
        // No chain is longer than the list; a longer one goes in a circle.
        for _ in 0..self.images.len() {
            let Some(image) = next.and_then(|id| self.images.get(id)) else {
                break;
            };
            bytes += image.size;
            next = image.parent.as_deref();
        }
        bytes
    }
}

fn prune(id: &str, [some, all]: [&Vec<String>; 2]) -> Prune {
    let is_in = |ids: &Vec<String>| ids.iter().any(|other| other == id);
    match (is_in(some), is_in(all)) {
        (true, _) => Prune::Yes,
        (false, true) => Prune::All,
        (false, false) => Prune::Never,
    }
}

fn gives_back(
    what: &Prunable,
    store: &Store,
    images: &[ImageReport],
    machines: &[(String, u64)],
) -> u64 {
    let images = images.iter().filter(|i| what.images.contains(&i.id));
    let machines = machines.iter().filter(|(id, _)| what.frozen.contains(id));
    let machines: u64 = machines.map(|(_, size)| size).sum();
    images.map(|i| i.size).sum::<u64>() + machines + store.cut_off_pulls()
}

/// Bytes that a file, or a folder with all below it, takes.
fn allocated_at(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => allocated(path),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    }
}

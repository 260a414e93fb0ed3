//! The folder of a snapshot: its manifest, and a stream for each node.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::model::NothingThere;
use crate::snapshot::{Manifest, Name, NodePart, verify};
use crate::state::{ClusterDir, read_json};

/// The manifest's file name. Without it, a folder is no snapshot.
pub(super) const MANIFEST: &str = "snapshot.json";

/// A node's stream.
pub(super) fn stream(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.stream"))
}

/// The state of a node's devices, while the snapshot is made.
pub(super) fn devices(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.devices"))
}

/// QEMU's full name of a node's machine, while the snapshot is made.
pub(super) fn kind(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.kind"))
}

/// The UEFI variables of a node.
pub(super) fn variables(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.uefi-vars"))
}

/// The names of the snapshots' folders, also of those that cannot be read.
pub(in crate::engine::local) fn snapshot_names(dir: &ClusterDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.snapshots());
    let names = entries.into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

/// Whether a snapshot of the cluster needs something. One that cannot be read may need anything.
pub(in crate::engine::local) fn needs(dir: &ClusterDir, is_it: impl Fn(&NodePart) -> bool) -> bool {
    match all(dir) {
        Ok((found, damaged)) => {
            let mut parts = found.iter().flat_map(|manifest| manifest.nodes.values());
            !damaged.is_empty() || parts.any(is_it)
        }
        Err(_) => true,
    }
}

/// The names of the snapshots that have one of these nodes.
pub(in crate::engine::local) fn having(dir: &ClusterDir, nodes: &[String]) -> Vec<String> {
    let found = all(dir).map(|(found, _)| found).unwrap_or_default();
    let has = |manifest: &&Manifest| nodes.iter().any(|node| manifest.nodes.contains_key(node));
    let names = found
        .iter()
        .filter(has)
        .map(|manifest| manifest.name.to_string());
    names.collect()
}

/// The snapshots of a cluster, the oldest first, and the words about those that cannot be read.
///
/// # Errors
/// Fails if the folder of snapshots cannot be read.
pub(super) fn all(dir: &ClusterDir) -> Result<(Vec<Manifest>, Vec<String>)> {
    let entries = match fs_err::read_dir(dir.snapshots()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        entries => entries?,
    };
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match read(&entry.path()) {
            Ok(Some(manifest)) => found.push(manifest),
            Ok(None) => damaged.push(format!("{name}: {MANIFEST} is missing")),
            Err(e) => damaged.push(format!("{name}: {e:#}")),
        }
    }
    found.sort_by(|a, b| a.time.total_cmp(&b.time));
    Ok((found, damaged))
}

/// The manifest of a folder, or `None` if it has none.
///
/// # Errors
/// Fails if it cannot be read.
pub(super) fn read(folder: &Path) -> Result<Option<Manifest>> {
    read_json(&folder.join(MANIFEST))
}

/// A snapshot by its name.
///
/// # Errors
/// Fails if there is none, with the names of those that are there, or if it cannot be read.
pub(super) fn named(dir: &ClusterDir, cluster: &str, name: &Name) -> Result<Manifest> {
    if let Some(manifest) = read(&dir.snapshot(name.as_str()))? {
        return Ok(manifest);
    }
    let (all, _) = all(dir)?;
    let names: Vec<_> = all.iter().map(|m| m.name.as_str()).collect();
    let expected = match names.is_empty() {
        true => "it has none".to_owned(),
        false => format!("expected {}", names.join(", ")),
    };
    Err(NothingThere(format!(
        "cluster `{cluster}` has no snapshot `{name}`; {expected}"
    ))
    .into())
}

/// Checks that no stream has changed.
///
/// # Errors
/// Fails with the file and both digests.
pub(super) fn check_streams(folder: &Path, manifest: &Manifest) -> Result<()> {
    std::thread::scope(|scope| {
        let checks: Vec<_> = manifest
            .nodes
            .iter()
            .map(|(node, part)| {
                let path = stream(folder, node);
                scope.spawn(move || verify(&path, &part.stream.digest).map(drop))
            })
            .collect();
        for check in checks {
            let checked = check.join();
            checked.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

/// Syncs a folder, so that what was made or renamed in it stays.
///
/// # Errors
/// Fails if it cannot be synced.
pub(super) fn sync(folder: &Path) -> Result<()> {
    let open = fs_err::File::open(folder)?;
    open.sync_all()
        .with_context(|| format!("cannot sync {}", folder.display()))
}

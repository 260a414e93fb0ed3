//! Removes what a verb left that was ended early.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use super::folder;
use crate::keeper::Standby;
use crate::node::{Identity, find_qemu};
use crate::state::{
    ClusterDir, ClusterRecord, NodeDir, NodeRecord, Restoration, number_of, read_json, remove_file,
};

/// Removes unfinished snapshots, and the images that neither the record nor a snapshot names. Takes images out of the
/// record that a running QEMU was to use, and does not.
///
/// # Errors
/// Fails if something cannot be read or removed.
pub(super) fn sweep(dir: &ClusterDir, record: &mut ClusterRecord) -> Result<()> {
    remove_folder(&dir.unfinished_snapshot())?;
    if !dir.restoring().exists() {
        remove_folder(&dir.suspended())?;
    }
    if Restoration::decided(dir)?.is_none() {
        take_back(dir, record)?;
    }
    remove_images(dir, record)
}

/// Removes the images that nothing names.
///
/// # Errors
/// Fails if something cannot be read or removed.
pub(super) fn remove_images(dir: &ClusterDir, record: &ClusterRecord) -> Result<()> {
    let (snapshots, damaged) = folder::all(dir)?;
    if !damaged.is_empty() {
        // Nobody knows what these need.
        return Ok(());
    }
    let standing = Standby::read(dir)?;
    let standing = standing.filter(Standby::is_wanted).map(|s| s.number);
    for node in &record.nodes {
        let chains = node.all_chains();
        let saved = snapshots.iter().filter_map(|s| s.nodes.get(&node.name));
        let saved = saved.flat_map(|part| &part.chains);
        let named: BTreeSet<&String> = chains.iter().chain(saved).flatten().collect();
        let node_dir = dir.node(&node.name);
        let entries = std::fs::read_dir(node_dir.path());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = number_of(&name).map(|(_, number)| number);
            if number.is_some() && number != standing && !named.contains(&name) {
                remove_file(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// Takes images out of the record that a running QEMU was to use for a snapshot that was given up.
fn take_back(dir: &ClusterDir, record: &mut ClusterRecord) -> Result<()> {
    let (snapshots, damaged) = folder::all(dir)?;
    if !damaged.is_empty() {
        return Ok(());
    }
    let mut changed = false;
    for node in &mut record.nodes {
        let saved = snapshots.iter().filter_map(|s| s.nodes.get(&node.name));
        let saved: BTreeSet<_> = saved.flat_map(|p| &p.chains).flatten().cloned().collect();
        changed |= drop_unused(node, &dir.node(&node.name), &saved);
    }
    match changed {
        true => record.save(dir),
        false => Ok(()),
    }
}

/// Takes new images out of a node's chains that its QEMU does not have open, because their snapshot was given up. Returns
/// whether there were any.
fn drop_unused(node: &mut NodeRecord, dir: &NodeDir, saved: &BTreeSet<String>) -> bool {
    if node.chains.is_empty() {
        return false;
    }
    let recorded = read_json::<Identity>(&dir.process()).ok().flatten();
    let Some(process) = recorded
        .filter(|i| i.open().is_some())
        .or_else(|| find_qemu(&node.uuid))
    else {
        return false;
    };
    let Some(open) = open_files(process.pid) else {
        return false;
    };
    let mut changed = false;
    for chain in &mut node.chains {
        let is_unused = |name: &String| {
            let there = std::fs::metadata(dir.image(name));
            there.is_ok_and(|m| !open.contains(&(m.dev(), m.ino())))
        };
        // One below must be in use, or this is no chain of that QEMU at all. No image of a snapshot becomes writable.
        while chain.len() > 1
            && chain.first().is_some_and(is_unused)
            && chain.iter().skip(1).any(|name| !is_unused(name))
            && chain.get(1).is_some_and(|name| !saved.contains(name))
        {
            chain.remove(0);
            changed = true;
        }
    }
    changed
}

/// The files that a process has open, by device and inode.
fn open_files(pid: i32) -> Option<BTreeSet<(u64, u64)>> {
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let files = entries.filter_map(|entry| std::fs::metadata(entry.path()).ok());
    Some(files.map(|m| (m.dev(), m.ino())).collect())
}

/// Removes a folder, and accepts that it is missing.
///
/// # Errors
/// Fails if it cannot be removed.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

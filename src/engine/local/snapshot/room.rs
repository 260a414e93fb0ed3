//! The memory and the disk space that a step takes. What the host lacks is refused before anything stops.

use std::path::Path;

use anyhow::Result;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::sources::{Source, sources};
use crate::engine::local::Local;
use crate::hint::bail_with_hint;
use crate::host::{Available, QEMU_OVERHEAD, free_disk};
use crate::spec::approximate;
use crate::state::ClusterRecord;

/// The state of a node's devices with what describes it, at most: measured 213 KB.
const DEVICES: u64 = 512 << 10;

/// What a save takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    memory: u64,
    disk: u64,
}

impl Need {
    /// For nodes with so many bytes of memory of their own. What is on a tmpfs takes memory too.
    fn of(own: &[u64], is_tmpfs: bool) -> Self {
        let all: u64 = own.iter().sum();
        // Streams are packed, but nobody knows how well before.
        let disk = all + own.len() as u64 * DEVICES;
        // The copies have room for a fifth more.
        let memory = all + all / 5 + if is_tmpfs { disk } else { 0 };
        Self { memory, disk }
    }
}

/// Refuses to save nodes where the memory for the copies of theirs, or the disk space for the streams, is short.
///
/// # Errors
/// Fails with what a save takes and what there is, or if a node has ended.
pub(super) fn check_save(local: &Local, sources: &[Source]) -> Result<()> {
    let own = sources.iter().map(|source| source.ram.own());
    let own = own.collect::<Result<Vec<_>>>()?;
    let folder = local.dir().snapshots();
    let need = Need::of(&own, is_tmpfs(&folder));
    let available = Available::now()?;
    if need.memory > available.bytes {
        bail_with_hint!(
            format!(
                "stop other programs or clusters; {} shows what the nodes use",
                local.command("top")
            ),
            "saving {} nodes takes {} of memory, {available}",
            own.len(),
            approximate(need.memory)
        );
    }
    let free = free_disk(&folder).unwrap_or(u64::MAX);
    if need.disk > free {
        bail_with_hint!(
            format!(
                "{} shows what takes space, and {} removes a snapshot",
                local.command("df"),
                local.command("snapshot rm NAME")
            ),
            "no space to save {} nodes: they may take {} in {}, {} is free",
            own.len(),
            approximate(need.disk),
            folder.display(),
            approximate(free)
        );
    }
    Ok(())
}

/// Refuses to load second machines beside the nodes where memory is short. The nodes may grow meanwhile.
///
/// # Errors
/// Fails with what they take and what is available.
pub(super) fn check_standby(local: &Local, record: &ClusterRecord) -> Result<()> {
    let mut needed = 0_u64;
    for source in sources(local, record)? {
        // What the running one may still write to, and what the second one has at once, are the whole memory together.
        needed = needed.saturating_add(source.ram.size() + QEMU_OVERHEAD);
    }
    let available = Available::now()?;
    if needed > available.bytes {
        bail_with_hint!(
            format!(
                "stop other programs or clusters; {} shows what the nodes use",
                local.command("top")
            ),
            "machines that stand by may take {} of memory, {available}",
            approximate(needed)
        );
    }
    Ok(())
}

/// Refuses files from outside that do not fit on the disk.
///
/// # Errors
/// Fails with what they take and what is free.
pub(super) fn check_import(local: &Local, from: &Path, needed: u64) -> Result<()> {
    let folder = local.dir().path().to_owned();
    let free = free_disk(&folder).unwrap_or(u64::MAX);
    if needed > free {
        bail_with_hint!(
            format!("{} shows what takes space", local.command("df")),
            "no space to import {}: what it holds may take {} in {}, {} is free",
            from.display(),
            approximate(needed),
            folder.display(),
            approximate(free)
        );
    }
    Ok(())
}

fn is_tmpfs(folder: &Path) -> bool {
    let there = folder.ancestors().find(|path| path.exists());
    let stat = there.and_then(|path| statfs(path).ok());
    stat.is_some_and(|stat| stat.filesystem_type() == TMPFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_takes_copies_in_memory_and_streams_on_disk() {
        let own = [100 << 20, 50 << 20];
        let disk = Need::of(&own, false);
        assert_eq!((disk.memory, disk.disk), (180 << 20, 151 << 20));
        let tmpfs = Need::of(&own, true);
        assert_eq!((tmpfs.memory, tmpfs.disk), (331 << 20, 151 << 20));
    }
}

//! Writes the difference of two disks as a qcow2 with only the clusters that differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};

use super::free::Free;
use crate::error::ImageError;
use crate::qcow2::{CLUSTER, PER_L1_ENTRY, header};

/// In an entry: the cluster's refcount is 1.
const COPIED: u64 = 1 << 63;
/// In an L2 entry: the cluster reads as zeros.
const ZEROS: u64 = 1;
/// Clusters that one block of 16-bit refcounts counts.
const PER_COUNTS: u64 = CLUSTER / 2;
/// The cluster of the first block of refcounts. Further blocks are at the end.
const FIRST_COUNTS: u64 = 2;
const L1: u64 = 3;

/// Writes to `path` the clusters of the raw disk `new` that differ from the raw disk `old`; `backing` is the name of its
/// backing file.
///
/// Leaves out free blocks, so that no layer contains deleted data.
///
/// # Errors
/// A file cannot be read or written, or the disk is too large.
pub(super) fn write(
    path: &Path,
    backing: &Path,
    [new, old]: [&File; 2],
    free: &Free,
) -> Result<(), ImageError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(ImageError::io(format!("make {}", path.display())))?;
    let write = || -> std::io::Result<()> {
        let size = new.metadata()?.len();
        let entries = size.div_ceil(PER_L1_ENTRY);
        let l1_clusters = (entries * 8).div_ceil(CLUSTER).max(1);
        let mut next = L1 + l1_clusters;
        let mut tables: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut at = 0;
        while let Some(data) = next_data([new, old], at, size)? {
            let cluster = data / CLUSTER;
            at = (cluster + 1) * CLUSTER;
            let [mut is, mut was] = [new, old].map(|f| read(f, cluster * CLUSTER));
            for bytes in [&mut is, &mut was] {
                free.clear(cluster * CLUSTER, bytes.as_mut().map_or(&mut [], |b| b));
            }
            let (is, was) = (is?, was?);
            if is == was {
                continue;
            }
            let entry = if is.iter().all(|b| *b == 0) {
                ZEROS
            } else {
                file.write_all_at(&is, next * CLUSTER)?;
                next += 1;
                ((next - 1) * CLUSTER) | COPIED
            };
            let per_table = CLUSTER / 8;
            let table = tables
                .entry(cluster / per_table)
                .or_insert_with(|| vec![0; (CLUSTER / 8) as usize]);
            if let Some(slot) = table.get_mut((cluster % per_table) as usize) {
                *slot = entry;
            }
        }
        for (number, table) in &tables {
            file.write_all_at(&big_endian(table), next * CLUSTER)?;
            let entry = (next * CLUSTER) | COPIED;
            file.write_all_at(&entry.to_be_bytes(), L1 * CLUSTER + number * 8)?;
            next += 1;
        }
        let mut blocks = vec![FIRST_COUNTS];
        while (blocks.len() as u64) * PER_COUNTS < next {
            blocks.push(next);
            next += 1;
        }
        for (number, block) in (0..).zip(&blocks) {
            file.write_all_at(&(block * CLUSTER).to_be_bytes(), CLUSTER + number * 8)?;
            let counted = next.saturating_sub(number * PER_COUNTS).min(PER_COUNTS);
            let counts: Vec<u8> = (0..counted).flat_map(|_| 1_u16.to_be_bytes()).collect();
            file.write_all_at(&counts, block * CLUSTER)?;
        }
        let entries = u32::try_from(entries).map_err(std::io::Error::other)?;
        file.write_all_at(&header(backing.as_os_str().as_bytes(), size, entries), 0)?;
        file.set_len(next * CLUSTER)
    };
    write().map_err(ImageError::io(format!("write {}", path.display())))
}

fn big_endian(table: &[u64]) -> Vec<u8> {
    table.iter().flat_map(|e| e.to_be_bytes()).collect()
}

/// Reads a cluster, with zeros beyond the file's end.
fn read(file: &File, at: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; CLUSTER as usize];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, at + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(bytes)
}

/// The first offset from `at` on, and before `size`, where either file has data.
fn next_data(files: [&File; 2], at: u64, size: u64) -> std::io::Result<Option<u64>> {
    let mut nearest = None;
    for file in files {
        let from = i64::try_from(at).map_err(std::io::Error::other)?;
        let found = match lseek64(file, from, Whence::SeekData) {
            Ok(found) => u64::try_from(found).map_err(std::io::Error::other)?,
            Err(Errno::ENXIO) => continue,
            Err(e) => return Err(e.into()),
        };
        if found < size && nearest.is_none_or(|n| found < n) {
            nearest = Some(found.max(at));
        }
    }
    Ok(nearest)
}

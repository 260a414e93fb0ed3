//! What differs between two states of a node's disk: blocks, and files where the file system can be read without
//! mounting it.

mod chain;
mod ext;
mod fault;
mod inode;
mod journal;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use self::chain::Chain;
use self::ext::Ext;
use self::fault::Fault;
use self::inode::State;
use crate::error::ImageError;
use crate::exec::stop_if_told;
use crate::layer::partition::{Disk, file_systems};

/// Bytes that are compared at once, and the unit in which differences count.
const BLOCK: usize = 4096;
/// Bytes that are read at once.
const READ: usize = 1 << 20;

/// The differences of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskChanges {
    /// Bytes that differ, in blocks of 4 KiB.
    pub bytes: u64,
    /// The files that differ, by their paths.
    pub files: Files,
}

/// The files that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// All of them, sorted by their paths. A folder counts only if it is new, gone, or has another owner or mode.
    Known(Vec<FileChange>),
    /// The file system cannot be read, with the reason.
    Unknown(String),
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// From the root of its file system, with a leading slash.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or its attributes differ.
    Changed,
    /// It is gone.
    Removed,
}

impl Disk for Chain {
    fn size(&self) -> u64 {
        Self::size(self)
    }

    fn bytes(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read(at, &mut bytes).ok().map(|()| bytes)
    }
}

/// Compares two states of a disk, each a chain of qcow2 images, the nearest first. Images that both have below are not
/// read for differences.
///
/// A guest that runs may have written files that are not on its disk yet. What is in the journal of its file system counts.
///
/// # Errors
/// An image cannot be read.
pub fn changes(old: &[PathBuf], new: &[PathBuf]) -> Result<DiskChanges, ImageError> {
    let shared = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let [own_old, own_new] = [old, new].map(|chain| chain.len() - shared);
    let (old, new) = (Chain::open(old)?, Chain::open(new)?);
    let mut held = old.held(own_old)?;
    held.extend(new.held(own_new)?);
    // A disk that has grown has zeros there.
    held.sort_unstable_by_key(|range| range.start);
    let bytes = different(&old, &new, &held)?;
    let files = match bytes {
        0 => Files::Known(Vec::new()),
        _ => files(&old, &new)?,
    };
    Ok(DiskChanges { bytes, files })
}

fn different(old: &Chain, new: &Chain, held: &[Range<u64>]) -> Result<u64, ImageError> {
    let mut buffers = [vec![0; READ], vec![0; READ]];
    let mut count = 0;
    let mut done = 0;
    for range in held {
        let mut at = range.start.max(done);
        while at < range.end {
            stop_if_told()?;
            let length = usize::try_from(range.end - at).unwrap_or(READ).min(READ);
            let [a, b] = &mut buffers;
            let (a, b) = (
                a.get_mut(..length).unwrap_or_default(),
                b.get_mut(..length).unwrap_or_default(),
            );
            old.read(at, a)?;
            new.read(at, b)?;
            let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK));
            count += blocks.filter(|(a, b)| a != b).count() as u64;
            at += length as u64;
        }
        done = done.max(range.end);
    }
    Ok(count * BLOCK as u64)
}

/// The files of all file systems that both states have at the same place. Usually one of them is the root.
fn files(old: &Chain, new: &Chain) -> Result<Files, ImageError> {
    let places = |chain: &Chain| -> Result<Vec<u64>, String> {
        let found = file_systems(chain)?.into_iter();
        let found = found.filter(|f| f.kind == "ext").map(|f| f.offset);
        Ok(found.collect())
    };
    let (was, is) = match places(old).and_then(|was| Ok((was, places(new)?))) {
        Ok(found) => found,
        Err(why) => return Ok(Files::Unknown(format!("it {why}"))),
    };
    if was != is || is.is_empty() {
        let why = "it has no ext2, ext3 or ext4, or not the same ones";
        return Ok(Files::Unknown(why.to_owned()));
    }
    let mut all = Vec::new();
    for offset in is {
        let listed = |chain| Ext::at(chain, offset).and_then(|ext| ext.files());
        match listed(old).and_then(|was| Ok((was, listed(new)?))) {
            Ok((was, is)) => compare(&was, &is, &mut all),
            Err(Fault::Image(e)) => return Err(e),
            Err(Fault::Unread(why)) => return Ok(Files::Unknown(format!("it {why}"))),
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Files::Known(all))
}

fn compare(was: &BTreeMap<String, State>, is: &BTreeMap<String, State>, all: &mut Vec<FileChange>) {
    let mut add = |path: &String, kind| {
        all.push(FileChange {
            path: format!("/{path}"),
            kind,
        });
    };
    for (path, state) in is {
        match was.get(path) {
            None => add(path, ChangeKind::Added),
            Some(before) if before.is_folder() && state.is_folder() => {
                if !before.is_same_folder(state) {
                    add(path, ChangeKind::Changed);
                }
            }
            Some(before) if before != state => add(path, ChangeKind::Changed),
            Some(_) => {}
        }
    }
    for path in was.keys().filter(|path| !is.contains_key(*path)) {
        add(path, ChangeKind::Removed);
    }
}

#[cfg(test)]
mod tests;

//! Lists the files of an ext2, ext3 or ext4 that lies on a chain of images. A guest wrote it, so nothing in it is
//! trusted, and it is not mounted.
//!
//! Reference: the kernel's Documentation/filesystems/ext4. Numbers are little-endian.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use super::fault::{DAMAGED, Fault};
use super::journal::{MAGIC_BYTES, Newest, replay};

const MAGIC: u16 = 0xef53;
const ROOT: u32 = 2;
/// Incompatible features.
const NEEDS_REPLAY: u32 = 4;
const IS_JOURNAL: u32 = 8;
const META_GROUPS: u32 = 0x10;
const LONG_GROUPS: u32 = 0x80;
/// In an inode's flags: its blocks are in extents, its data are in the inode itself, its names are encrypted.
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
const ENCRYPTED: u32 = 0x800;
const EXTENT_MAGIC: u16 = 0xf30a;
const DEEPEST_TREE: u16 = 5;
/// Most bytes of a folder, files, and levels of folders that are read.
const LARGEST_FOLDER: u64 = 64 << 20;
const LARGEST_JOURNAL: u64 = 2 << 30;
const MOST_FILES: usize = 1 << 20;
const DEEPEST: usize = 256;
/// Most parts that are read, so that loops in it have an end.
const MOST_READS: u32 = 4 << 20;

/// What tells one state of a file from another. The time of the last access does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    inode: u32,
    /// stat(2)'s `st_mode`, with the file's type.
    mode: u16,
    owner: [u16; 4],
    size: u64,
    /// With the part below a second.
    changed: [u32; 4],
    generation: u32,
}

impl State {
    pub(super) const fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// As of a folder, whose time and size change with each file in it.
    pub(super) const fn is_same_folder(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.owner[0] == other.owner[0]
            && self.owner[1] == other.owner[1]
            && self.owner[2] == other.owner[2]
            && self.owner[3] == other.owner[3]
    }
}

/// A file system.
pub(super) struct Ext<'a> {
    disk: &'a Chain,
    /// In bytes.
    offset: u64,
    block: u64,
    inodes: u32,
    per_group: u32,
    inode_size: u64,
    first_group: u64,
    group_size: u64,
    is_long: bool,
    reads: Cell<u32>,
    /// Blocks whose newest content is in the journal.
    journaled: BTreeMap<u64, Newest>,
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn pair(bytes: &[u8], low: usize, high: usize) -> Option<u64> {
    Some(u64::from(word(bytes, high)?) << 32 | u64::from(word(bytes, low)?))
}

impl<'a> Ext<'a> {
    /// The file system at an offset of a disk in bytes.
    ///
    /// # Errors
    /// There is none, or it has features that this reader does not know.
    pub(super) fn at(disk: &'a Chain, offset: u64) -> Result<Self, Fault> {
        let mut bytes = vec![0; 1024];
        disk.read(offset.saturating_add(1024), &mut bytes)?;
        let parsed = Self::parse(disk, offset, &bytes);
        let mut ext = parsed.ok_or(Fault::Unread("has no file system that kvmc can read"))??;
        if word(&bytes, 96).is_some_and(|features| features & NEEDS_REPLAY != 0) {
            let inode = ext.inode(word(&bytes, 224).ok_or(DAMAGED)?)?;
            let log = ext.blocks(&inode, LARGEST_JOURNAL)?;
            ext.journaled = replay(&log, &|block| {
                let at = block.checked_mul(ext.block).ok_or(DAMAGED)?;
                ext.read(at, ext.block)
            })?;
        }
        Ok(ext)
    }

    fn parse(disk: &'a Chain, offset: u64, bytes: &[u8]) -> Option<Result<Self, Fault>> {
        if short(bytes, 56)? != MAGIC {
            return None;
        }
        let incompatible = word(bytes, 96)?;
        if incompatible & (IS_JOURNAL | META_GROUPS) != 0 {
            let why = "has an ext4 with a feature that kvmc does not read";
            return Some(Err(Fault::Unread(why)));
        }
        let block = 1024_u64 << word(bytes, 24).filter(|n| *n <= 6)?;
        let is_long = incompatible & LONG_GROUPS != 0;
        let group_size = match is_long {
            true => u64::from(short(bytes, 254)?).max(64),
            false => 32,
        };
        let inode_size = match word(bytes, 76)? {
            0 => 128,
            _ => u64::from(short(bytes, 88)?),
        };
        let is_sound = (128..=block).contains(&inode_size) && group_size <= 1024;
        let per_group = word(bytes, 40).filter(|n| *n > 0 && is_sound)?;
        Some(Ok(Self {
            disk,
            offset,
            block,
            inodes: word(bytes, 0)?,
            per_group,
            inode_size,
            first_group: (u64::from(word(bytes, 20)?) + 1) * block,
            group_size,
            is_long,
            reads: Cell::new(0),
            journaled: BTreeMap::new(),
        }))
    }

    /// All files and folders by their paths from the root, without a leading slash.
    ///
    /// # Errors
    /// A file of the disk cannot be read, or a folder makes no sense.
    pub(super) fn files(&self) -> Result<BTreeMap<String, State>, Fault> {
        let mut found = BTreeMap::new();
        let mut folders = vec![(ROOT, String::new(), 0)];
        let mut seen = BTreeSet::from([ROOT]);
        while let Some((number, path, depth)) = folders.pop() {
            let inode = self.inode(number)?;
            let data = self.folder(&inode)?;
            for (child, name) in entries(&data) {
                let inode = self.inode(child)?;
                let state = state(child, &inode).ok_or(DAMAGED)?;
                let path = match path.is_empty() {
                    true => name,
                    false => format!("{path}/{name}"),
                };
                // A folder that is in itself would have no end.
                if state.is_folder() && depth < DEEPEST && seen.insert(child) {
                    folders.push((child, path.clone(), depth + 1));
                }
                found.insert(path, state);
                if found.len() > MOST_FILES {
                    return Err(Fault::Unread("has more files than kvmc reads"));
                }
            }
        }
        Ok(found)
    }

    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, Fault> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() > MOST_READS {
            return Err(Fault::Unread("has more files than kvmc reads"));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| DAMAGED)?];
        // No part that is read crosses a block.
        let (block, within) = (at / self.block, at % self.block);
        let newest = self.journaled.get(&block);
        let at = match newest {
            Some(newest) => newest
                .block
                .saturating_mul(self.block)
                .saturating_add(within),
            None => at,
        };
        self.disk.read(self.offset.saturating_add(at), &mut bytes)?;
        if newest.is_some_and(|newest| newest.is_escaped && within == 0)
            && let Some(first) = bytes.first_chunk_mut()
        {
            *first = MAGIC_BYTES;
        }
        Ok(bytes)
    }

    fn inode(&self, number: u32) -> Result<Vec<u8>, Fault> {
        let index = number.checked_sub(1).filter(|_| number <= self.inodes);
        let index = index.ok_or(DAMAGED)?;
        let group = u64::from(index / self.per_group) * self.group_size;
        let group = self.read(self.first_group + group, self.group_size)?;
        let table = match self.is_long {
            true => pair(&group, 8, 40),
            false => word(&group, 8).map(u64::from),
        };
        let at = u64::from(index % self.per_group) * self.inode_size;
        let at = table.and_then(|t| t.checked_mul(self.block)?.checked_add(at));
        self.read(at.ok_or(DAMAGED)?, self.inode_size)
    }

    /// The content of a folder.
    fn folder(&self, inode: &[u8]) -> Result<Vec<u8>, Fault> {
        let flags = word(inode, 32).ok_or(DAMAGED)?;
        if flags & (INLINE | ENCRYPTED) != 0 {
            return Err(Fault::Unread("has a folder that kvmc does not read"));
        }
        let mut data = Vec::new();
        for block in self.blocks(inode, LARGEST_FOLDER)? {
            let at = block.checked_mul(self.block).ok_or(DAMAGED)?;
            data.extend(self.read(at, self.block)?);
        }
        Ok(data)
    }

    /// The blocks of a file without holes, of at most `largest` bytes.
    fn blocks(&self, inode: &[u8], largest: u64) -> Result<Vec<u64>, Fault> {
        let flags = word(inode, 32).ok_or(DAMAGED)?;
        let size = pair(inode, 4, 108).ok_or(DAMAGED)?;
        if size > largest {
            return Err(DAMAGED);
        }
        let root = inode.get(40..100).ok_or(DAMAGED)?;
        let mut blocks = Blocks {
            most: size.div_ceil(self.block),
            found: Vec::new(),
        };
        if flags & EXTENTS != 0 {
            self.extents(root, DEEPEST_TREE, &mut blocks)?;
        } else {
            self.pointers(root, &mut blocks)?;
        }
        Ok(blocks.found)
    }

    fn extents(&self, node: &[u8], deepest: u16, blocks: &mut Blocks) -> Result<(), Fault> {
        let head = |at| short(node, at).ok_or(DAMAGED);
        let (count, depth) = (head(2)?, head(6)?);
        if head(0)? != EXTENT_MAGIC || depth > deepest {
            return Err(DAMAGED);
        }
        for entry in node
            .get(12..)
            .unwrap_or_default()
            .chunks_exact(12)
            .take(count.into())
        {
            let high = |at| short(entry, at).map(u64::from).ok_or(DAMAGED);
            if depth == 0 {
                // A length above this is of blocks that were not written yet.
                let length = high(4)?;
                let length = if length > 0x8000 {
                    length - 0x8000
                } else {
                    length
                };
                let start = high(6)? << 32 | u64::from(word(entry, 8).ok_or(DAMAGED)?);
                for block in start..start + length {
                    blocks.add(block)?;
                }
            } else {
                let below = high(8)? << 32 | u64::from(word(entry, 4).ok_or(DAMAGED)?);
                let below = below.checked_mul(self.block).ok_or(DAMAGED)?;
                let below = self.read(below, self.block)?;
                let depth_below = depth.checked_sub(1).ok_or(DAMAGED)?;
                self.extents(&below, depth_below, blocks)?;
            }
        }
        Ok(())
    }

    /// The blocks of a file before ext4.
    fn pointers(&self, root: &[u8], blocks: &mut Blocks) -> Result<(), Fault> {
        let words = root.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w));
        for (block, level) in words.zip([0; 12].into_iter().chain([1, 2, 3])) {
            self.pointed(u64::from(block), level, blocks)?;
        }
        Ok(())
    }

    fn pointed(&self, block: u64, level: u32, blocks: &mut Blocks) -> Result<(), Fault> {
        if block == 0 || blocks.is_full() {
            return Ok(());
        }
        if level == 0 {
            return blocks.add(block);
        }
        let table = self.read(block.checked_mul(self.block).ok_or(DAMAGED)?, self.block)?;
        for word in table.as_chunks().0 {
            let below = u64::from(u32::from_le_bytes(*word));
            self.pointed(below, level - 1, blocks)?;
        }
        Ok(())
    }
}

/// The blocks of a folder.
struct Blocks {
    /// As many as its size needs.
    most: u64,
    found: Vec<u64>,
}

impl Blocks {
    fn is_full(&self) -> bool {
        self.found.len() as u64 >= self.most
    }

    fn add(&mut self, block: u64) -> Result<(), Fault> {
        if self.is_full() {
            return Err(DAMAGED);
        }
        self.found.push(block);
        Ok(())
    }
}

/// The entries of a folder without `.` and `..`.
fn entries(data: &[u8]) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut rest = data;
    while let (Some(inode), Some(length)) = (word(rest, 0), short(rest, 4)) {
        let Some((entry, after)) = rest.split_at_checked(usize::from(length)) else {
            break;
        };
        let name_length = entry.get(6).copied().unwrap_or_default();
        let Some(name) = entry.get(8..8 + usize::from(name_length)) else {
            break;
        };
        if inode != 0 && !name.is_empty() && name != b"." && name != b".." {
            found.push((inode, String::from_utf8_lossy(name).into_owned()));
        }
        rest = after;
    }
    found
}

fn state(number: u32, inode: &[u8]) -> Option<State> {
    // An inode of 128 bytes has no times below a second.
    let below = |at| word(inode, at).unwrap_or_default();
    Some(State {
        inode: number,
        mode: short(inode, 0)?,
        owner: [
            short(inode, 2)?,
            short(inode, 24)?,
            short(inode, 120)?,
            short(inode, 122)?,
        ],
        size: pair(inode, 4, 108)?,
        changed: [word(inode, 12)?, word(inode, 16)?, below(132), below(136)],
        generation: word(inode, 100)?,
    })
}

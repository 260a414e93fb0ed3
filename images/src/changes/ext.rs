//! Lists the files of an ext2, ext3 or ext4 that lies on a chain of images. A guest wrote it, so nothing in it is
//! trusted, and it is not mounted.
//!
//! Reference: the kernel's Documentation/filesystems/ext4. Numbers are little-endian.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use super::fault::{DAMAGED, Fault};
use super::inode::{State, entries, pair, short, state, word};
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
const LARGEST_FOLDER: u64 = 32 << 20;
const LARGEST_JOURNAL: u64 = 2 << 30;
const MOST_FILES: usize = 1 << 19;
const DEEPEST: usize = 256;
/// Most bytes of one path, and of all.
const LONGEST_PATH: usize = 4096;
const MOST_PATHS: usize = 48 << 20;
/// Most bytes of folders that are read.
const MOST_FOLDERS: u64 = 1 << 30;
/// Most nodes of a file's tree of extents. A tree of so many is of some terabytes.
const MOST_NODES: u32 = 1 << 16;
/// Most parts that are read, so that loops in it have an end.
const MOST_READS: u32 = 4 << 20;

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
    /// Bytes of folders.
    folders: Cell<u64>,
    /// Blocks whose newest content is in the journal.
    journaled: BTreeMap<u64, Newest>,
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
        let bits = word(bytes, 24)?;
        if bits > 6 {
            let why = "has an ext4 with blocks of more than 64K";
            return Some(Err(Fault::Unread(why)));
        }
        let block = 1024_u64 << bits;
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
            folders: Cell::new(0),
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
        let mut paths = 0;
        while let Some((number, path, depth)) = folders.pop() {
            let inode = self.inode(number)?;
            let data = self.folder(&inode)?;
            for (child, name) in entries(&data, MOST_FILES + 1) {
                let inode = self.inode(child)?;
                let state = state(child, &inode).ok_or(DAMAGED)?;
                let path = match path.is_empty() {
                    true => name,
                    false => format!("{path}/{name}"),
                };
                paths += path.len();
                if path.len() > LONGEST_PATH || paths > MOST_PATHS {
                    return Err(Fault::Unread("has longer paths than kvmc reads"));
                }
                if state.is_folder() {
                    if !seen.insert(child) {
                        return Err(Fault::Unread("has a folder with two names"));
                    }
                    if depth == DEEPEST {
                        return Err(Fault::Unread("has folders deeper than kvmc reads"));
                    }
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
            return Err(Fault::Unread("has more parts than kvmc reads"));
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
        let at = self.offset.saturating_add(at);
        if at.saturating_add(length) > self.disk.size() {
            return Err(Fault::Unread("has a part beyond the end of the disk"));
        }
        self.disk.read(at, &mut bytes)?;
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
        let at = at.filter(|at| *at < self.disk.size());
        let at = at.ok_or(Fault::Unread("has inodes beyond the end of the disk"))?;
        self.read(at, self.inode_size)
    }

    /// The content of a folder.
    fn folder(&self, inode: &[u8]) -> Result<Vec<u8>, Fault> {
        let flags = word(inode, 32).ok_or(DAMAGED)?;
        if flags & (INLINE | ENCRYPTED) != 0 {
            return Err(Fault::Unread("has a folder that kvmc does not read"));
        }
        let mut data = Vec::new();
        for block in self.blocks(inode, LARGEST_FOLDER)? {
            self.folders.set(self.folders.get() + self.block);
            if self.folders.get() > MOST_FOLDERS {
                return Err(Fault::Unread("has larger folders than kvmc reads"));
            }
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
            return Err(Fault::Unread(
                "has a larger folder or journal than kvmc reads",
            ));
        }
        let root = inode.get(40..100).ok_or(DAMAGED)?;
        let mut blocks = Blocks {
            most: size.div_ceil(self.block),
            nodes: 0,
            found: Vec::new(),
        };
        if flags & EXTENTS != 0 {
            let depth = short(root, 6).filter(|depth| *depth <= DEEPEST_TREE);
            self.extents(root, depth.ok_or(DAMAGED)?, &mut blocks)?;
        } else {
            self.pointers(root, &mut blocks)?;
        }
        Ok(blocks.found)
    }

    fn extents(&self, node: &[u8], level: u16, blocks: &mut Blocks) -> Result<(), Fault> {
        let head = |at| short(node, at).ok_or(DAMAGED);
        let (count, depth) = (head(2)?, head(6)?);
        if head(0)? != EXTENT_MAGIC {
            return Err(DAMAGED);
        }
        blocks.nodes += 1;
        if depth != level || blocks.nodes > MOST_NODES {
            return Err(Fault::Unread(
                "has a tree of extents that leads back to itself",
            ));
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
    /// Nodes of its tree that were read.
    nodes: u32,
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

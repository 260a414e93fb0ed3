//! Reads the disk that a chain of qcow2 images makes up, without QEMU. A guest may have made its QEMU write anything
//! into them, so nothing in them is trusted.
//!
//! Reference: QEMU's docs/interop/qcow2.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::ImageError;
use crate::qcow2::inspect_whole;

/// Most images of a chain, with the image's own and those of all its layers.
const MOST_IMAGES: usize = 64;
/// Most entries of L1 tables of a chain: 64 MiB of them.
const MOST_TABLES: u64 = 8 << 20;
/// Most L2 tables of an image. In clusters of 64 KiB they are of the largest disk.
const MOST_USED: usize = 1 << 17;
/// Bytes of tables of one image that are kept.
const MOST_KEPT: usize = 4 << 20;
/// Most parts of a disk that the images of a chain hold.
const MOST_PARTS: usize = 2 << 20;
/// Where an entry points to.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;
/// Incompatible features that this reader does not know: another compression and extended L2 entries.
const UNREAD: u64 = 1 << 3 | 1 << 4;

/// A chain of images, the nearest first.
#[derive(Debug)]
pub(super) struct Chain {
    images: Vec<Qcow2>,
}

/// An image without its backing file.
#[derive(Debug)]
pub(super) struct Qcow2 {
    path: PathBuf,
    file: File,
    size: u64,
    cluster_bits: u32,
    l1: Vec<u64>,
    tables: RefCell<BTreeMap<u64, Rc<Vec<u64>>>>,
}

/// Where the bytes of a cluster are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Below,
    Zeros,
    At(u64),
    Compressed { at: u64, length: u64 },
}

impl Chain {
    /// Opens a chain, the nearest image first.
    ///
    /// # Errors
    /// An image cannot be read, or has features that this reader does not know.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self, ImageError> {
        let mut images = Vec::new();
        let mut tables = 0;
        for (path, number) in paths.iter().zip(1..) {
            if number > MOST_IMAGES {
                return Err(unfit(path, "lies on more images than kvmc reads"));
            }
            if paths.iter().skip(number).any(|below| below == path) {
                return Err(unfit(path, "is its own backing file"));
            }
            let image = Qcow2::open(path)?;
            tables += image.l1.len() as u64;
            if tables > MOST_TABLES {
                return Err(unfit(path, "has more tables than kvmc reads"));
            }
            images.push(image);
        }
        Ok(Self { images })
    }

    /// Bytes that a guest sees.
    pub(super) fn size(&self) -> u64 {
        self.images.first().map_or(0, |image| image.size)
    }

    /// Fills `buffer` with the bytes at `at`, with zeros beyond the end.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        read(&self.images, at, buffer)
    }

    /// The parts of the disk that the first `count` images hold themselves, in ascending order.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn held(&self, count: usize) -> Result<Vec<Range<u64>>, ImageError> {
        let mut all = Vec::new();
        for image in self.images.iter().take(count) {
            image.held(&mut all)?;
        }
        all.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in all {
            match merged.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        Ok(merged)
    }
}

fn read(images: &[Qcow2], at: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
    let Some((image, below)) = images.split_first() else {
        buffer.fill(0);
        return Ok(());
    };
    let cluster = 1_u64 << image.cluster_bits;
    let (mut at, mut rest) = (at, buffer);
    while !rest.is_empty() {
        let within = at % cluster;
        let length = usize::try_from(cluster - within).unwrap_or(usize::MAX);
        let length = length.min(rest.len());
        let (part, after) = rest.split_at_mut(length);
        match image.place(at >> image.cluster_bits)? {
            Place::Below => read(below, at, part)?,
            Place::Zeros => part.fill(0),
            Place::At(offset) => image.bytes(offset.saturating_add(within), part)?,
            Place::Compressed { at, length } => image.unpack(at, length, within, part)?,
        }
        at = at.saturating_add(length as u64);
        rest = after;
    }
    Ok(())
}

impl Qcow2 {
    fn open(path: &Path) -> Result<Self, ImageError> {
        let size = inspect_whole(path)?.virtual_size;
        let file = fs_err::File::open(path)?.into_parts().0;
        let unfit = |why: &str| unfit(path, why);
        let mut head = [0; 104];
        file.read_exact_at(&mut head, 0)
            .map_err(|_| unfit("is cut short"))?;
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let cluster_bits = word(20);
        if word(4) >= 3 && long(72) & UNREAD != 0 {
            return Err(unfit(
                "has another compression or extended entries, which kvmc does not read",
            ));
        }
        // A table's clusters hold so many bytes: its entries are of 8.
        let per_table = 1_u64 << (2 * cluster_bits - 3);
        let tables = size.div_ceil(per_table).min(u64::from(word(36)));
        if tables > MOST_TABLES {
            return Err(unfit("has an impossible table"));
        }
        let image = Self {
            path: path.to_owned(),
            file,
            size,
            cluster_bits,
            l1: Vec::new(),
            tables: RefCell::default(),
        };
        let l1 = image.table(long(40), tables)?;
        let image = Self { l1, ..image };
        image.check_tables()?;
        Ok(image)
    }

    /// Each table is a cluster of its own in the file.
    fn check_tables(&self) -> Result<(), ImageError> {
        let length = self.file.metadata().map_or(0, |m| m.len());
        let used = self.l1.iter().map(|entry| entry & OFFSET);
        let mut used: Vec<u64> = used.filter(|offset| *offset != 0).collect();
        if used.len() > MOST_USED {
            return Err(unfit(&self.path, "has more L2 tables than kvmc reads"));
        }
        used.sort_unstable();
        if used.windows(2).any(|pair| pair.first() == pair.get(1)) {
            return Err(unfit(&self.path, "has an L2 table in two places"));
        }
        match used.last() {
            Some(last) if *last >= length => {
                Err(unfit(&self.path, "has an L2 table beyond its end"))
            }
            _ => Ok(()),
        }
    }

    fn bytes(&self, at: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = self.file.read_at(rest, at.saturating_add(filled as u64));
            match read.map_err(ImageError::io(format!("read {}", self.path.display())))? {
                // A cluster that was only allocated can lie beyond the end.
                0 => {
                    rest.fill(0);
                    break;
                }
                read => filled += read,
            }
        }
        Ok(())
    }

    fn table(&self, at: u64, entries: u64) -> Result<Vec<u64>, ImageError> {
        let length = usize::try_from(entries.saturating_mul(8));
        let length = length.map_err(|_| unfit(&self.path, "has an impossible table"))?;
        let mut bytes = vec![0; length];
        self.bytes(at, &mut bytes)?;
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().map(|word| u64::from_be_bytes(*word)).collect())
    }

    /// The L2 table with this number; `None` if the image has none.
    fn l2(&self, number: u64) -> Result<Option<Rc<Vec<u64>>>, ImageError> {
        let entry = usize::try_from(number).ok();
        let entry = entry.and_then(|n| self.l1.get(n)).copied();
        let offset = entry.unwrap_or_default() & OFFSET;
        if offset == 0 {
            return Ok(None);
        }
        if let Some(table) = self.tables.borrow().get(&number) {
            return Ok(Some(Rc::clone(table)));
        }
        let table = Rc::new(self.table(offset, 1 << (self.cluster_bits - 3))?);
        let mut tables = self.tables.borrow_mut();
        if (tables.len() + 1) << self.cluster_bits > MOST_KEPT {
            tables.clear();
        }
        tables.insert(number, Rc::clone(&table));
        Ok(Some(table))
    }

    fn place(&self, cluster: u64) -> Result<Place, ImageError> {
        if cluster >= self.size.div_ceil(1 << self.cluster_bits) {
            return Ok(Place::Zeros);
        }
        let bits = self.cluster_bits - 3;
        let Some(table) = self.l2(cluster >> bits)? else {
            return Ok(Place::Below);
        };
        let entry = usize::try_from(cluster & ((1 << bits) - 1)).ok();
        let entry = entry
            .and_then(|n| table.get(n))
            .copied()
            .unwrap_or_default();
        Ok(self.of_entry(entry))
    }

    const fn of_entry(&self, entry: u64) -> Place {
        if entry & COMPRESSED != 0 {
            let bits = 62 - (self.cluster_bits - 8);
            let at = entry & ((1 << bits) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> bits;
            return Place::Compressed {
                at,
                length: (sectors + 1) * 512 - at % 512,
            };
        }
        match (entry & OFFSET, entry & ZEROS) {
            (_, ZEROS) => Place::Zeros,
            (0, _) => Place::Below,
            (at, _) => Place::At(at),
        }
    }

    /// Unpacks a cluster, and copies its bytes from `within` on.
    fn unpack(&self, at: u64, length: u64, within: u64, part: &mut [u8]) -> Result<(), ImageError> {
        let damaged = || {
            unfit(
                &self.path,
                "has a compressed cluster that cannot be unpacked",
            )
        };
        let mut packed = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        self.bytes(at, &mut packed)?;
        let cluster = 1_u64 << self.cluster_bits;
        let mut bytes = Vec::new();
        flate2::read::DeflateDecoder::new(packed.as_slice())
            .take(cluster)
            .read_to_end(&mut bytes)
            .map_err(|_| damaged())?;
        let within = usize::try_from(within).map_err(|_| damaged())?;
        let from = bytes.get(within..).and_then(|b| b.get(..part.len()));
        part.copy_from_slice(from.ok_or_else(damaged)?);
        Ok(())
    }

    /// Adds the parts of the disk that this image holds.
    fn held(&self, all: &mut Vec<Range<u64>>) -> Result<(), ImageError> {
        let bits = self.cluster_bits;
        for number in 0..self.l1.len() as u64 {
            let Some(table) = self.l2(number)? else {
                continue;
            };
            for (entry, index) in table.iter().zip(0_u64..) {
                let start = ((number << (bits - 3)) + index) << bits;
                if start >= self.size || self.of_entry(*entry) == Place::Below {
                    continue;
                }
                let end = (start + (1 << bits)).min(self.size);
                let is_full = all.len() >= MOST_PARTS;
                match all.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ if is_full => {
                        return Err(unfit(&self.path, "is in more parts than kvmc reads"));
                    }
                    _ => all.push(start..end),
                }
            }
        }
        Ok(())
    }
}

fn unfit(path: &Path, why: &str) -> ImageError {
    ImageError::Unfit {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;

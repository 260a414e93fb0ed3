//! Finds the file systems of a disk, and their kinds.
//!
//! References: UEFI's specification for GPT; the kernel's `include/uapi/linux/magic.h` and the file systems' own
//! documents for their magic numbers.

use std::fs::File;
use std::os::unix::fs::FileExt;

const SECTOR: u64 = 512;
/// Most entries of a GPT, and the sizes of one in bytes.
const MOST: u32 = 256;
const ENTRY: std::ops::RangeInclusive<u32> = 128..=4096;

/// A disk that can be read anywhere.
pub(crate) trait Disk {
    /// The bytes at an offset; `None` if they cannot be read.
    fn bytes(&self, at: u64, length: usize) -> Option<Vec<u8>>;

    /// Its size in bytes.
    fn size(&self) -> u64;
}

impl Disk for File {
    fn bytes(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    }

    fn size(&self) -> u64 {
        self.metadata().map_or(0, |meta| meta.len())
    }
}

/// A file system on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Its offset in bytes.
    pub(crate) offset: u64,
    /// Its kind; `ext` for ext2, ext3 and ext4.
    pub(crate) kind: &'static str,
}

/// The known file systems of the whole disk and of its partitions.
///
/// # Errors
/// The partition table is impossible; the error says what of it.
pub(crate) fn file_systems(disk: &impl Disk) -> Result<Vec<FileSystem>, String> {
    let mut starts = vec![0];
    match gpt(disk) {
        Some(found) => starts.extend(found?),
        None => starts.extend(mbr(disk).unwrap_or_default()),
    }
    if let Some(start) = starts.iter().find(|start| **start > disk.size()) {
        return Err(format!(
            "has a partition at byte {start}, beyond its end at {}",
            disk.size()
        ));
    }
    let known = |offset: u64| {
        Some(FileSystem {
            offset,
            kind: kind(disk, offset)?,
        })
    };
    Ok(starts.into_iter().filter_map(known).collect())
}

fn kind(disk: &impl Disk, offset: u64) -> Option<&'static str> {
    /// Kind, offset of its magic number, and that number.
    const KNOWN: [(&str, u64, &[u8]); 5] = [
        ("ext", 1024 + 56, b"\x53\xef"),
        ("xfs", 0, b"XFSB"),
        ("btrfs", 0x10040, b"_BHRfS_M"),
        ("LVM", 512, b"LABELONE"),
        ("LUKS", 0, b"LUKS\xba\xbe"),
    ];
    let has = |at: u64, word: &[u8]| {
        disk.bytes(offset.checked_add(at)?, word.len())
            .map(|b| b == word)
    };
    KNOWN
        .iter()
        .find(|(_, at, word)| has(*at, word) == Some(true))
        .map(|(name, ..)| *name)
}

/// The starts of partitions; `None` where there is no GPT.
fn gpt(disk: &impl Disk) -> Option<Result<Vec<u64>, String>> {
    let header = disk.bytes(SECTOR, 92)?;
    if header.get(..8)? != b"EFI PART" {
        return None;
    }
    let table = long(&header, 72)?.saturating_mul(SECTOR);
    let (count, size) = (word(&header, 80)?, word(&header, 84)?);
    if count > MOST {
        return Some(Err(format!(
            "has a table of {count} partitions; expected at most {MOST}"
        )));
    }
    if !ENTRY.contains(&size) {
        return Some(Err(format!(
            "has a table of partitions with entries of {size} bytes; expected 128 to 4096"
        )));
    }
    if table >= disk.size() {
        return Some(Err(format!(
            "has its table of partitions at byte {table}, beyond its end at {}",
            disk.size()
        )));
    }
    let start = |number: u32| {
        let at = u64::from(number) * u64::from(size);
        let entry = disk.bytes(table.checked_add(at)?, 128)?;
        let is_used = entry.get(..16)? != [0; 16];
        let sector = long(&entry, 32).filter(|_| is_used)?;
        Some(sector.saturating_mul(SECTOR))
    };
    Some(Ok((0..count).filter_map(start).collect()))
}

fn mbr(disk: &impl Disk) -> Option<Vec<u64>> {
    let sector = disk.bytes(0, 512)?;
    if sector.get(510..)? != b"\x55\xaa" {
        return None;
    }
    let start = |number: usize| {
        let entry = sector.get(446 + 16 * number..)?.get(..16)?;
        let is_used = *entry.get(4)? != 0;
        Some(u64::from(word(entry, 8)?) * SECTOR).filter(|_| is_used)
    };
    Some((0..4).filter_map(start).collect())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disk(parts: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        for (at, part) in parts {
            file.write_all_at(part, *at).unwrap();
        }
        file
    }

    #[test]
    fn partitions_of_either_table_are_found_and_named() {
        let mut header = b"EFI PART".to_vec();
        header.resize(92, 0);
        header[72] = 2;
        header[80] = 4;
        header[84] = 128;
        let mut first = vec![1; 16];
        first.resize(128, 0);
        let mut second = first.clone();
        first[33] = 4; // sector 1024
        second[33] = 8;
        let gpt = disk(&[
            (512, &header),
            (1024, &first),
            (1024 + 256, &second),
            ((512 << 10) + 1080, b"\x53\xef"),
            (1 << 20, b"XFSB"),
        ]);
        let found = |offset, kind| FileSystem { offset, kind };
        assert_eq!(
            file_systems(&gpt).unwrap(),
            [found(512 << 10, "ext"), found(1 << 20, "xfs")]
        );
        let mut entry = [0; 16];
        entry[4] = 0x83;
        entry[9] = 4;
        let mbr = disk(&[
            (446 + 16, &entry),
            (510, b"\x55\xaa"),
            ((512 << 10) + 0x10040, b"_BHRfS_M"),
        ]);
        assert_eq!(file_systems(&mbr).unwrap(), [found(512 << 10, "btrfs")]);
        assert_eq!(
            file_systems(&disk(&[(1080, b"\x53\xef")])).unwrap(),
            [found(0, "ext")]
        );
        assert!(file_systems(&disk(&[])).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_disk_makes_it_fall_over(mut bytes in proptest::collection::vec(any::<u8>(), 0..4096), whole in any::<bool>()) {
            if whole && bytes.len() > 600 {
                bytes[512..520].copy_from_slice(b"EFI PART");
            }
            let _any = file_systems(&disk(&[(0, &bytes)]));
        }
    }
}

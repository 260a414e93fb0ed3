//! Parses the header of a qcow2. Anybody may have written it.
//!
//! Reference: QEMU's docs/interop/qcow2.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::flaw::Flaw;

pub(super) const MAGIC: &[u8; 4] = b"QFI\xfb";
/// The sizes of clusters that the format allows, as powers of 2.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// The largest disk, in bytes. QEMU has no tables for much larger ones.
pub(super) const LARGEST: u64 = 64 << 40;
/// Longest backing file's name that the format allows, in bytes.
pub(super) const LONGEST_NAME: usize = 1023;
/// Header extensions with the data file's name and with the names of features.
const DATA_FILE: u32 = 0x4441_5441;
const FEATURE_NAMES: u32 = 0x6803_f857;
/// Incompatible features, by their bits.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
/// Entries of L2 tables are of 16 bytes instead of 8.
pub(super) const LONG_ENTRIES: u64 = 1 << 4;
/// The same, and those that QEMU and kvmc read: a compression type and long entries.
const KNOWN_FEATURES: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | 1 << 3 | LONG_ENTRIES;

/// An image's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Size of the disk that a guest sees, in bytes.
    pub virtual_size: u64,
    /// Its backing file.
    pub backing_file: Option<PathBuf>,
}

pub(super) fn word(bytes: &[u8], at: usize) -> Result<u32, Flaw> {
    let word = at.checked_add(4).and_then(|end| bytes.get(at..end));
    let word = word.and_then(|w| w.try_into().ok()).ok_or(Flaw::Cut)?;
    Ok(u32::from_be_bytes(word))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Result<u64, Flaw> {
    Ok(u64::from(word(bytes, at)?) << 32 | u64::from(word(bytes, at + 4)?))
}

pub(super) fn parse(bytes: &[u8]) -> Result<Header, Flaw> {
    if bytes.get(..4) != Some(MAGIC.as_slice()) {
        return Err(Flaw::NotQcow2);
    }
    let version = word(bytes, 4)?;
    if version != 2 && version != 3 {
        return Err(Flaw::Version(version));
    }
    let method = word(bytes, 32)?;
    if method != 0 {
        return Err(Flaw::Encrypted(method));
    }
    if version == 3 {
        check_features(bytes)?;
    }
    let bits = word(bytes, 20)?;
    if !CLUSTER_BITS.contains(&bits) {
        return Err(Flaw::Clusters(bits));
    }
    let size = long(bytes, 24)?;
    if size > LARGEST {
        return Err(Flaw::Size(size));
    }
    let offset = usize::try_from(long(bytes, 8)?).map_err(|_| Flaw::Cut)?;
    let length = word(bytes, 16)? as usize;
    let backing_file = match (offset, length) {
        (0, _) | (_, 0) => None,
        (_, length) if length > LONGEST_NAME => return Err(Flaw::BackingName(word(bytes, 16)?)),
        (offset, length) => {
            let name = offset
                .checked_add(length)
                .and_then(|end| bytes.get(offset..end))
                .ok_or(Flaw::Cut)?;
            Some(PathBuf::from(std::ffi::OsStr::from_bytes(name)))
        }
    };
    Ok(Header {
        virtual_size: size,
        backing_file,
    })
}

/// Refuses incompatible features that an image to be used must not have.
fn check_features(bytes: &[u8]) -> Result<(), Flaw> {
    let features = long(bytes, 72)?;
    let unknown = features & !KNOWN_FEATURES;
    if unknown != 0 {
        let names = extension(bytes, FEATURE_NAMES).unwrap_or_default();
        let bits = (0..64_u8).filter(|bit| unknown >> bit & 1 == 1);
        let words: Vec<_> = bits.map(|bit| feature_name(names, bit)).collect();
        return Err(Flaw::Unknown(words.join(", ")));
    }
    if features & CORRUPT != 0 {
        return Err(Flaw::Corrupt);
    }
    if features & DIRTY != 0 {
        return Err(Flaw::Dirty);
    }
    if features & EXTERNAL_DATA != 0 {
        let name = extension(bytes, DATA_FILE).unwrap_or_default();
        return Err(Flaw::DataFile(String::from_utf8_lossy(name).into_owned()));
    }
    Ok(())
}

/// The name of an incompatible feature in the image's own table, and its bit.
fn feature_name(table: &[u8], bit: u8) -> String {
    const ENTRY: usize = 48;
    const INCOMPATIBLE: u8 = 0;
    let entry = table
        .chunks(ENTRY)
        .find(|e| e.starts_with(&[INCOMPATIBLE, bit]));
    let name = entry.and_then(|e| e.get(2..)).unwrap_or_default();
    let name: Vec<u8> = name.iter().copied().take_while(|b| *b != 0).collect();
    match name.is_empty() {
        true => format!("bit {bit}"),
        false => format!("{} (bit {bit})", String::from_utf8_lossy(&name)),
    }
}

/// The content of a header extension.
fn extension(bytes: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut at = word(bytes, 100).ok()? as usize;
    loop {
        let (kind, length) = (word(bytes, at).ok()?, word(bytes, at + 4).ok()? as usize);
        let content = bytes.get(at + 8..(at + 8).checked_add(length)?);
        match kind {
            0 => return None,
            kind if kind == wanted => return content,
            _ => at = (at + 8).checked_add(length.next_multiple_of(8))?,
        }
    }
}

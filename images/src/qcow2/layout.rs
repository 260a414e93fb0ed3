//! Compares what the header of a qcow2 says of its tables with the file, before a program or kvmc follows it.
//!
//! Reference: QEMU's docs/interop/qcow2; the bounds of sizes are those of QEMU's block/qcow2.h.

use super::flaw::Flaw;
use super::header::{LONG_ENTRIES, long, word};

/// Entries of the largest L1 table that QEMU reads.
const MOST_ENTRIES: u64 = (32 << 20) / 8;
/// Bytes of the largest refcount table.
const LARGEST_REFCOUNTS: u64 = 8 << 20;
/// Refcounts of at most 2^6 bits.
const WIDEST_REFCOUNT: u32 = 6;
/// Most snapshots inside an image. QEMU reads 65536, with a table of 32M for each.
const MOST_SNAPSHOTS: u32 = 256;
/// The shortest header of version 3.
const SHORTEST_HEADER: u32 = 104;

/// Checks a header that could be parsed, for a file of `length` bytes that begins with `bytes`.
///
/// # Errors
/// A table or the header itself is impossible.
pub(super) fn check(bytes: &[u8], length: u64) -> Result<(), Flaw> {
    let cluster = 1_u64 << word(bytes, 20)?;
    let is_newer = word(bytes, 4)? >= 3;
    if is_newer {
        check_header(bytes, cluster)?;
    }
    let has_long_entries = is_newer && long(bytes, 72)? & LONG_ENTRIES != 0;
    let per_entry = cluster * (cluster / if has_long_entries { 16 } else { 8 });
    let entries = u64::from(word(bytes, 36)?);
    let needed = long(bytes, 24)?.div_ceil(per_entry);
    if entries > MOST_ENTRIES {
        return flaw(format!(
            "has an L1 table of {entries} entries; expected at most {MOST_ENTRIES}"
        ));
    }
    if entries < needed {
        return flaw(format!(
            "has an L1 table of {entries} entries; its disk needs {needed}"
        ));
    }
    if entries > 0 {
        let end = long(bytes, 40)?.saturating_add(entries * 8);
        place("L1 table", long(bytes, 40)?, end, cluster, length)?;
    }
    let refcounts = u64::from(word(bytes, 56)?) * cluster;
    if refcounts > LARGEST_REFCOUNTS {
        return flaw(format!(
            "has a refcount table of {refcounts} bytes; expected at most {LARGEST_REFCOUNTS}"
        ));
    }
    let at = long(bytes, 48)?;
    place("refcount table", at, at.saturating_add(1), cluster, length)?;
    let snapshots = word(bytes, 60)?;
    if snapshots > MOST_SNAPSHOTS {
        return flaw(format!(
            "holds {snapshots} snapshots; expected at most {MOST_SNAPSHOTS}"
        ));
    }
    if snapshots > 0 {
        let at = long(bytes, 64)?;
        place(
            "table of snapshots",
            at,
            at.saturating_add(1),
            cluster,
            length,
        )?;
    }
    Ok(())
}

/// The fields of version 3, and the header's extensions.
fn check_header(bytes: &[u8], cluster: u64) -> Result<(), Flaw> {
    let width = word(bytes, 96)?;
    if width > WIDEST_REFCOUNT {
        return flaw(format!(
            "has refcounts of 2^{width} bits; expected at most 2^{WIDEST_REFCOUNT}"
        ));
    }
    let length = word(bytes, 100)?;
    if length < SHORTEST_HEADER || u64::from(length) > cluster || !length.is_multiple_of(8) {
        return flaw(format!(
            "has a header of {length} bytes; expected {SHORTEST_HEADER} to {cluster} in steps of 8"
        ));
    }
    let backing = long(bytes, 8)?;
    let end = if backing == 0 { cluster } else { backing };
    let end = end.min(cluster).min(bytes.len() as u64);
    let mut at = u64::from(length);
    while at + 8 <= end {
        let offset = usize::try_from(at).map_err(|_| Flaw::Cut)?;
        let (kind, length) = (word(bytes, offset)?, u64::from(word(bytes, offset + 4)?));
        if kind == 0 {
            return Ok(());
        }
        if length > end - at - 8 {
            return flaw(format!(
                "has a header extension of {length} bytes at {at}, where {} are left",
                end - at - 8
            ));
        }
        at += 8 + length.next_multiple_of(8);
    }
    Ok(())
}

/// A table must begin with a cluster, behind the header, and lie in the file.
fn place(what: &str, at: u64, end: u64, cluster: u64, length: u64) -> Result<(), Flaw> {
    if at == 0 || !at.is_multiple_of(cluster) {
        return flaw(format!(
            "has its {what} at byte {at}, which is no cluster of its own"
        ));
    }
    if end > length {
        return flaw(format!(
            "has its {what} at byte {at}, beyond its end at {length}"
        ));
    }
    Ok(())
}

fn flaw(what: String) -> Result<(), Flaw> {
    Err(Flaw::Layout(what))
}

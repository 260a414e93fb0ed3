//! Finds in the journal of an ext3 or ext4 the blocks that are not in their places yet. A guest that was not shut down has
//! many of them.
//!
//! Reference: the kernel's Documentation/filesystems/ext4/journal.rst. Numbers are big-endian. Fast commits are not read.

use std::collections::BTreeMap;

use super::fault::{DAMAGED, Fault};

const MAGIC: u32 = 0xc03b_3998;
/// Kinds of blocks.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;
/// Most blocks that a journal writes or revokes.
const MOST: usize = 1 << 20;
/// Incompatible features.
const LONG_NUMBERS: u32 = 2;
const CHECKSUMS_2: u32 = 8;
const CHECKSUMS_3: u32 = 0x10;
const FAST_COMMITS: u32 = 0x20;
/// Flags of a tag: the block began with the magic number, has no id behind it, is the last.
const ESCAPED: u32 = 1;
const SAME_ID: u32 = 2;
const LAST: u32 = 8;

/// Where the newest content of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Newest {
    /// The block of the file system that holds it.
    pub(super) block: u64,
    /// Its first four bytes are [`MAGIC_BYTES`].
    pub(super) is_escaped: bool,
}

/// What an escaped block begins with.
pub(super) const MAGIC_BYTES: [u8; 4] = MAGIC.to_be_bytes();

/// A block that a transaction writes.
struct Write {
    to: u64,
    sequence: u32,
    newest: Newest,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a journal, whose blocks in the file system are `log`, and returns the blocks that it would write.
///
/// # Errors
/// A block cannot be read, or there is no journal.
pub(super) fn replay(
    log: &[u64],
    read: &dyn Fn(u64) -> Result<Vec<u8>, Fault>,
) -> Result<BTreeMap<u64, Newest>, Fault> {
    let head = read(*log.first().ok_or(DAMAGED)?)?;
    let field = |at| word(&head, at).ok_or(DAMAGED);
    if field(0)? != MAGIC {
        return Err(DAMAGED);
    }
    let features = field(40)?;
    let fast = match features & FAST_COMMITS {
        0 => 0,
        // Without a number it is 256 blocks.
        _ => match field(84)? {
            0 => 256,
            number => number,
        },
    };
    let end = field(16)?.saturating_sub(fast);
    let mut log = Log {
        blocks: log,
        first: field(20)?,
        end,
        at: field(28)?,
        left: end,
    };
    let mut sequence = field(24)?;
    if log.at == 0 {
        return Ok(BTreeMap::new());
    }
    let (mut writes, mut revoked) = (Vec::new(), BTreeMap::new());
    let (mut pending, mut revoking) = (Vec::new(), Vec::new());
    while let Some(block) = log.next() {
        let count = writes.len() + pending.len() + revoked.len() + revoking.len();
        if count > MOST {
            return Err(Fault::Unread(
                "has a journal of more blocks than kvmc reads",
            ));
        }
        let bytes = read(block)?;
        if word(&bytes, 0) != Some(MAGIC) || word(&bytes, 8) != Some(sequence) {
            break;
        }
        match word(&bytes, 4) {
            Some(DESCRIPTOR) => {
                for (to, flags) in tags(&bytes, features) {
                    let Some(block) = log.next() else {
                        break;
                    };
                    pending.push(Write {
                        to,
                        sequence,
                        newest: Newest {
                            block,
                            is_escaped: flags & ESCAPED != 0,
                        },
                    });
                }
            }
            Some(REVOKE) => revoking.extend(revoked_blocks(&bytes, features)),
            Some(COMMIT) => {
                writes.append(&mut pending);
                revoked.extend(revoking.drain(..).map(|block| (block, sequence)));
                sequence = sequence.wrapping_add(1);
            }
            _ => break,
        }
    }
    // A block that was freed later may hold the data of a file.
    let is_valid = |write: &Write| {
        let later = revoked.get(&write.to);
        later.is_none_or(|later| *later < write.sequence)
    };
    let valid = writes.into_iter().filter(is_valid);
    Ok(valid.map(|write| (write.to, write.newest)).collect())
}

/// The blocks of the log in the order of writing.
struct Log<'a> {
    blocks: &'a [u64],
    first: u32,
    end: u32,
    at: u32,
    /// Blocks until the log would come round.
    left: u32,
}

impl Log<'_> {
    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let block = self.blocks.get(usize::try_from(self.at).ok()?).copied();
        self.at += 1;
        if self.at >= self.end {
            self.at = self.first;
        }
        block
    }
}

/// The blocks of a descriptor, and their flags.
fn tags(bytes: &[u8], features: u32) -> Vec<(u64, u32)> {
    let has_checksums = features & (CHECKSUMS_2 | CHECKSUMS_3) != 0;
    let tail = if has_checksums { 4 } else { 0 };
    let end = bytes.len().saturating_sub(tail);
    let is_long = features & LONG_NUMBERS != 0;
    let size = match (features & CHECKSUMS_3 != 0, features & CHECKSUMS_2 != 0) {
        (true, _) => 16,
        (_, true) if is_long => 14,
        (_, true) => 10,
        _ if is_long => 12,
        _ => 8,
    };
    let mut found = Vec::new();
    let mut at = 12;
    while at + size <= end {
        let Some(low) = word(bytes, at) else {
            break;
        };
        let flags = match features & CHECKSUMS_3 {
            // Before, the flags are the second half of the word.
            0 => word(bytes, at + 4).map(|flags| flags & 0xffff),
            _ => word(bytes, at + 4),
        };
        let flags = flags.unwrap_or(LAST);
        let high = match is_long {
            true => word(bytes, at + 8).unwrap_or_default(),
            false => 0,
        };
        found.push((u64::from(high) << 32 | u64::from(low), flags));
        if flags & LAST != 0 {
            break;
        }
        at += size;
        if flags & SAME_ID == 0 {
            at += 16;
        }
    }
    found
}

fn revoked_blocks(bytes: &[u8], features: u32) -> Vec<u64> {
    let used = word(bytes, 12).and_then(|used| usize::try_from(used).ok());
    let records = bytes.get(16..used.unwrap_or_default()).unwrap_or_default();
    match features & LONG_NUMBERS {
        0 => {
            let words = records.as_chunks().0.iter();
            words.map(|w| u64::from(u32::from_be_bytes(*w))).collect()
        }
        _ => {
            let words = records.as_chunks().0.iter();
            words.map(|w| u64::from_be_bytes(*w)).collect()
        }
    }
}

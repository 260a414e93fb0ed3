//! The parts of an ext file system: numbers, an inode, the entries of a folder.
//!
//! Reference: the kernel's Documentation/filesystems/ext4. Numbers are little-endian.

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

pub(super) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn pair(bytes: &[u8], low: usize, high: usize) -> Option<u64> {
    Some(u64::from(word(bytes, high)?) << 32 | u64::from(word(bytes, low)?))
}

/// The first `most` entries of a folder without `.` and `..`.
pub(super) fn entries(data: &[u8], most: usize) -> Vec<(u32, String)> {
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
        if found.len() >= most {
            break;
        }
        if inode != 0 && !name.is_empty() && name != b"." && name != b".." {
            found.push((inode, String::from_utf8_lossy(name).into_owned()));
        }
        rest = after;
    }
    found
}

pub(super) fn state(number: u32, inode: &[u8]) -> Option<State> {
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

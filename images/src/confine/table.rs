//! What each program does with an image from outside: what it reads and writes, and its limits.

const MIB: u64 = 1 << 20;

/// What a program is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Finds damage in a qcow2.
    Check,
    /// Reads the first bytes of the disk in a qcow2.
    Head,
    /// Makes a raw disk of a chain of qcow2.
    Flatten,
    /// Makes a qcow2 of a raw disk.
    Pack,
    /// Writes a qcow2 into the one below it.
    Merge,
    /// Lists folders of a file system.
    List,
    /// Copies a small file out of a file system.
    Extract,
    /// Changes files of a file system.
    Edit,
    /// Repairs a file system's counts.
    Repair,
    /// Lists the free blocks of a file system.
    Free,
    /// Copies the metadata of a file system.
    Metadata,
    /// Makes a file system of a folder.
    Fill,
}

/// How memory is bounded, setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// What it allocates. A program with threads reserves far more than it uses.
    Allocated,
    /// All that it maps.
    Mapped,
}

/// The largest file that a program may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Nothing,
    Bytes(u64),
    /// As large as the disk.
    Disk,
    /// A qcow2 that is full, with its tables.
    Qcow2,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) task: Task,
    pub(super) program: &'static str,
    /// What it opens to read, and to write.
    pub(super) reads: &'static str,
    pub(super) writes: &'static str,
    pub(super) memory: Memory,
    pub(super) written: Written,
    /// Seconds of CPU time, whatever the size.
    pub(super) seconds: u64,
    /// Most bytes that it prints.
    pub(super) printed: u64,
}

/// Memory of each program. [`MEMORY_PER_DISK`] of the disk's size is added for a file system, whose maps of blocks grow with it.
pub(super) const MEMORY: u64 = 256 * MIB;
const MEMORY_PER_DISK: u64 = 1024;
/// A program has a second of CPU time more for so many bytes of its files.
const BYTES_PER_SECOND: u64 = 8 * MIB;
/// Seconds on the clock for each second of CPU time, as a busy host with a slow disk needs them.
const CLOCK: u64 = 6;
/// Bytes of what a program says, and of a file that it copies for kvmc.
const TEXT: u64 = MIB;
const COPIED: u64 = 8 * MIB;
const LISTED: u64 = 64 * MIB;
/// Room for a qcow2's tables: more than a thousandth of its disk.
const TABLES: u64 = 512;

const fn row(
    task: Task,
    program: &'static str,
    [reads, writes]: [&'static str; 2],
    memory: Memory,
    written: Written,
    (seconds, printed): (u64, u64),
) -> Row {
    Row {
        task,
        program,
        reads,
        writes,
        memory,
        written,
        seconds,
        printed,
    }
}

pub(super) const TABLE: [Row; 12] = {
    use Memory::{Allocated, Mapped};
    use Written::{Bytes, Disk, Nothing, Qcow2};
    [
        row(
            Task::Check,
            "qemu-img",
            ["an imported or downloaded qcow2", "nothing"],
            Allocated,
            Nothing,
            (5, TEXT),
        ),
        row(
            Task::Head,
            "qemu-img",
            ["an imported or downloaded qcow2", "its first 128K"],
            Allocated,
            Bytes(128 << 10),
            (5, TEXT),
        ),
        row(
            Task::Flatten,
            "qemu-img",
            ["a node's disk and the images below it", "a raw disk"],
            Allocated,
            Disk,
            (30, TEXT),
        ),
        row(
            Task::Pack,
            "qemu-img",
            ["an unpacked raw disk", "a qcow2"],
            Allocated,
            Qcow2,
            (30, TEXT),
        ),
        row(
            Task::Merge,
            "qemu-img",
            [
                "a node's disk and the images below it",
                "the image below the disk",
            ],
            Allocated,
            Qcow2,
            (30, TEXT),
        ),
        row(
            Task::List,
            "debugfs",
            ["a node's raw disk", "nothing"],
            Mapped,
            Nothing,
            (5, LISTED),
        ),
        row(
            Task::Extract,
            "debugfs",
            ["a node's raw disk", "one small file"],
            Mapped,
            Bytes(COPIED),
            (5, TEXT),
        ),
        row(
            Task::Edit,
            "debugfs",
            ["a script and files of kvmc's", "a node's raw disk"],
            Mapped,
            Disk,
            (10, LISTED),
        ),
        row(
            Task::Repair,
            "e2fsck",
            ["a node's raw disk", "the same"],
            Mapped,
            Disk,
            (10, TEXT),
        ),
        row(
            Task::Free,
            "dumpe2fs",
            ["a node's raw disk, or its metadata", "nothing"],
            Mapped,
            Nothing,
            (10, LISTED),
        ),
        row(
            Task::Metadata,
            "e2image",
            ["a node's raw disk", "a file with holes"],
            Mapped,
            Disk,
            (10, TEXT),
        ),
        row(
            Task::Fill,
            "mke2fs",
            ["a folder with installed packages", "a raw disk"],
            Mapped,
            Disk,
            (30, TEXT),
        ),
    ]
};

/// A row's limits for files of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) memory: u64,
    pub(super) is_mapped: bool,
    /// Seconds of CPU time, and on the clock.
    pub(super) seconds: u64,
    pub(super) clock: u64,
    pub(super) written: u64,
    pub(super) printed: u64,
}

impl Row {
    pub(super) fn of(task: Task) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.task == task)
    }

    /// The limits for a disk of `disk` bytes, as a guest sees it, where all files take `held` bytes.
    pub(super) fn limits(&self, disk: u64, held: u64) -> Limits {
        let seconds = self.seconds.saturating_add(held / BYTES_PER_SECOND);
        let is_mapped = self.memory == Memory::Mapped;
        Limits {
            memory: match is_mapped {
                true => MEMORY.saturating_add(disk / MEMORY_PER_DISK),
                false => MEMORY,
            },
            is_mapped,
            seconds,
            clock: seconds.saturating_mul(CLOCK),
            written: match self.written {
                Written::Nothing => 0,
                Written::Bytes(bytes) => bytes,
                Written::Disk => disk,
                Written::Qcow2 => disk.saturating_add(disk / TABLES).saturating_add(64 * MIB),
            },
            printed: self.printed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::approximate;

    /// The row in docs/SECURITY.md.
    fn line(row: &Row) -> String {
        let written = match row.written {
            Written::Nothing => "0".to_owned(),
            Written::Bytes(bytes) => approximate(bytes),
            Written::Disk => "the disk's size".to_owned(),
            Written::Qcow2 => "the disk's size, its tables and 64M".to_owned(),
        };
        let memory = match row.memory {
            Memory::Allocated => approximate(MEMORY),
            Memory::Mapped => format!("{} and a 1024th of the disk", approximate(MEMORY)),
        };
        format!(
            "| `{}` | {} | {} | {memory} | {} s | {written} | {} |",
            row.program,
            row.reads,
            row.writes,
            row.seconds,
            approximate(row.printed)
        )
    }

    #[test]
    fn the_document_has_each_row_of_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SECURITY.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows: Vec<_> = TABLE.iter().map(line).collect();
        assert!(text.contains(&rows.join("\n")), "{}", rows.join("\n"));
    }

    #[test]
    fn every_program_has_limits_that_grow_with_its_files_only_as_they_must() {
        for row in &TABLE {
            let (small, large) = (row.limits(1 << 30, 0), row.limits(1 << 30, 80 * MIB));
            assert!(small.memory <= MEMORY + MIB && small.memory >= MEMORY);
            assert!((5..=30).contains(&small.seconds), "{row:?}");
            assert_eq!(large.seconds, small.seconds + 10);
            assert_eq!(small.clock, small.seconds * 6);
            assert!(small.printed <= LISTED && small.written <= (1 << 30) + 66 * MIB);
            let never = row.limits(u64::MAX, u64::MAX);
            assert!(never.clock >= small.clock, "nothing overflows");
            assert_eq!(row.writes == "nothing", small.written == 0);
        }
    }
}

//! The parts of a file or disk that tell what it is.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::confine::{Job, Task};
use crate::error::ImageError;

/// Bytes from the start: more than the place of any known signature (btrfs' is the last, at 64 KiB).
const START: u64 = 128 << 10;
/// Bytes from the end: VHD and DMG have a footer in the last sector.
const END: u64 = 512;

/// The start and the end of a file or disk.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
}

impl Head {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn of_file(path: &Path) -> Result<Self, ImageError> {
        let file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        let mut start = Vec::new();
        file.file().take(START).read_to_end(&mut start)?;
        let mut end = vec![0; usize::try_from(END.min(length)).unwrap_or(0)];
        file.file()
            .read_exact_at(&mut end, length.saturating_sub(END))?;
        Ok(Self { start, end })
    }

    /// Reads the disk in a qcow2.
    ///
    /// # Errors
    /// qemu-img cannot read it.
    pub(super) fn of_qcow2(path: &Path) -> Result<Self, ImageError> {
        let raw = tempfile::NamedTempFile::new().map_err(ImageError::io("make a file"))?;
        let arguments = [
            "dd".to_owned(),
            "-f".to_owned(),
            "qcow2".to_owned(),
            "-O".to_owned(),
            "raw".to_owned(),
            format!("bs={START}"),
            "count=1".to_owned(),
            format!("if={}", path.display()),
            format!("of={}", raw.path().display()),
        ];
        let job = Job {
            task: Task::Head,
            arguments: arguments.to_vec(),
            reads: vec![path],
            writes: vec![raw.path()],
            about: path,
            disk: START,
        };
        job.run()?;
        let mut start = Vec::new();
        File::open(raw.path())?.read_to_end(&mut start)?;
        Ok(Self {
            start,
            end: Vec::new(),
        })
    }

    /// Whether the start has these bytes at a place.
    pub(super) fn has(&self, at: usize, bytes: &[u8]) -> bool {
        self.start.get(at..at + bytes.len()) == Some(bytes)
    }

    /// Whether the start has no bytes but zeros.
    pub(super) fn is_blank(&self) -> bool {
        self.start.iter().all(|b| *b == 0)
    }

    /// Whether it has a boot sector's signature. A GPT disk has it in its protective MBR.
    pub(super) fn is_bootable(&self) -> bool {
        self.has(510, &[0x55, 0xaa])
    }
}

//! A file being downloaded: its received part, and a mark of the source, so that a later run can resume.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ImageError;

/// The mark beside a part: the file that it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) url: String,
    /// The expected checksum of the whole file.
    pub(super) expected: Option<String>,
    /// `ETag` or `Last-Modified`, RFC 9110's validators.
    pub(super) validator: Option<String>,
}

/// The error of a failed write. On a full disk it also removes the part, which takes the room.
pub(super) fn write_failed(url: &str, part: &Path, source: std::io::Error) -> ImageError {
    if source.kind() == std::io::ErrorKind::StorageFull {
        forget(part);
    }
    ImageError::io(format!("write {url} into the store"))(source)
}

/// Refuses a file that does not fit on the disk, before it is downloaded.
pub(super) fn check_room(part: &Path, start: u64, total: Option<u64>) -> Result<(), ImageError> {
    let needed = total.unwrap_or(0).saturating_sub(start);
    let Ok(stat) = nix::sys::statvfs::statvfs(part) else {
        return Ok(());
    };
    let free = stat.blocks_available() * stat.fragment_size();
    if needed <= free {
        return Ok(());
    }
    forget(part);
    Err(ImageError::Room {
        at: part.parent().unwrap_or(part).to_owned(),
        needed,
        free,
    })
}

/// Received bytes of a part.
pub(super) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Removes a part and its mark.
pub(super) fn forget(part: &Path) {
    let _none_there = std::fs::remove_file(part);
    let _none_there = std::fs::remove_file(Mark::path(part));
}

impl Mark {
    fn path(part: &Path) -> PathBuf {
        part.with_extension("mark")
    }

    pub(super) fn load(part: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(part)).ok()?).ok()
    }

    pub(super) fn save(&self, part: &Path) -> Result<(), ImageError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        Ok(fs_err::write(Self::path(part), text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_mark() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("x.part");
        kvmc_fuzz::run("part-mark", |bytes| {
            std::fs::write(Mark::path(&part), bytes).unwrap();
            match Mark::load(&part) {
                Some(mark) => format!("{} {}", mark.expected.is_some(), mark.validator.is_some()),
                None => "none".to_owned(),
            }
        });
    }
}

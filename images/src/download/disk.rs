//! Makes an image's disk from a downloaded or imported file.

use std::path::{Path, PathBuf};

use super::disk_format::{self, DiskFormat};
use super::subject::Subject;
use crate::error::ImageError;
use crate::image::DISK;

/// Makes `disk.qcow2` in `folder` from a file of any known format.
///
/// # Errors
/// The file is not a usable disk, or there is no room. The error calls it by the subject's name.
pub(super) fn make_disk(
    folder: &Path,
    from: &Path,
    subject: Subject<'_>,
) -> Result<(), ImageError> {
    let unpacked = folder.join("unpacked");
    let disk = folder.join(DISK);
    let mut plain: PathBuf = from.to_owned();
    let mut format = disk_format::probe(&plain, subject)?;
    if !matches!(format, DiskFormat::Qcow2 | DiskFormat::Raw) {
        disk_format::unpack(format, &plain, &unpacked, subject)?;
        plain.clone_from(&unpacked);
        format = disk_format::probe_packed(&plain, format, subject)?;
    }
    disk_format::settle(format, &plain, &disk, subject)?;
    let _moved_or_used_up = std::fs::remove_file(&unpacked);
    Ok(())
}

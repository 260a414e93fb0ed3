//! Makes the file system of a template from a folder, without a mount.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::confine::{Job, Task};
use crate::error::ImageError;

/// Makes `raw` an ext4 with the content of `root` and `spare` free bytes.
///
/// # Errors
/// `root` cannot be read, or mke2fs failed.
pub(crate) fn make(root: &Path, raw: &Path, spare: u64) -> Result<(), ImageError> {
    let size = (used(root, &mut HashSet::new())? * 23 / 20 + spare).next_multiple_of(64 << 20);
    let text = |p: &Path| p.display().to_string();
    let arguments: Vec<String> = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "0",
        "-L",
        "kvmc",
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0",
        "-d",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([text(root), text(raw), format!("{}k", size / 1024)])
    .collect();
    let job = Job {
        task: Task::Fill,
        arguments,
        reads: vec![root],
        writes: vec![raw],
        about: root,
        disk: size,
    };
    job.run()
}

/// Bytes that a tree takes in blocks of 4 KiB. A file with several names counts once; `seen` holds the inodes of such files.
fn used(root: &Path, seen: &mut HashSet<(u64, u64)>) -> Result<u64, ImageError> {
    let mut total = 0;
    for entry in fs_err::read_dir(root)? {
        let path = entry?.path();
        let kind = fs_err::symlink_metadata(&path)?;
        total += 256;
        if kind.is_dir() || kind.nlink() == 1 || seen.insert((kind.dev(), kind.ino())) {
            total += kind.len().next_multiple_of(4096);
        }
        if kind.is_dir() {
            total += used(&path, seen)?;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_names_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), [0; 10_000]).unwrap();
        let alone = used(dir.path(), &mut HashSet::new()).unwrap();
        assert!(alone >= 12_288);
        for name in ["b", "c"] {
            std::fs::hard_link(dir.path().join("a"), dir.path().join(name)).unwrap();
        }
        let linked = used(dir.path(), &mut HashSet::new()).unwrap();
        assert!(linked < alone + 4096, "{alone} {linked}");
    }
}

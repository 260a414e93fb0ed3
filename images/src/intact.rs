//! Checks that files have not changed since they were stored. Reads a file whole once, and again when its fingerprint has
//! changed.
//!
//! A write sets a file's ctime, which only a changed clock could restore. So a file with the device, inode, size, mtime and
//! ctime of its last full read has the same content. The check does not see decay of the disk below the file system.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::ImageError;

/// A file that changed within this time may change again with equal times.
const SETTLED: Duration = Duration::from_secs(2);
/// Stands for the digest of a missing file.
const NO_FILE: &str = "no file";

/// The identity of a file at its last full read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970.
    mtime: i128,
    ctime: i128,
    digest: String,
}

/// The fingerprints of a folder's files, kept in a file. A file without a fingerprint is read.
#[derive(Debug)]
pub struct FileChecks {
    path: PathBuf,
    files: BTreeMap<String, Fingerprint>,
    changed: bool,
}

impl FileChecks {
    /// The fingerprints in `path`; none if it is missing or damaged.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        Self {
            path: path.to_owned(),
            files: serde_json::from_slice(&bytes).unwrap_or_default(),
            changed: false,
        }
    }

    /// Checks that `file` has the digest `expected`; `digest` reads all of it.
    ///
    /// # Errors
    /// [`ImageError::Changed`] if the file has another digest or does not exist; another error if it cannot be read.
    pub fn check<E: From<ImageError>>(
        &mut self,
        file: &Path,
        expected: &str,
        digest: impl FnOnce(&Path) -> Result<String, E>,
    ) -> Result<(), E> {
        let changed = |found: &str| ImageError::Changed {
            path: file.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let before = match look(file, expected) {
            Ok(before) => before,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(changed(NO_FILE).into());
            }
            Err(e) => return Err(ImageError::from(e).into()),
        };
        if self.files.get(&*name) == Some(&before) {
            return Ok(());
        }
        let found = digest(file)?;
        if found != expected {
            return Err(changed(&found).into());
        }
        let after = look(file, expected).map_err(ImageError::from)?;
        if after == before && is_settled(&after) {
            self.files.insert(name.into_owned(), after);
            self.changed = true;
        }
        Ok(())
    }

    /// Writes new fingerprints. If that fails, the next check reads the files again.
    pub fn save(self) {
        let (true, Some(dir)) = (self.changed, self.path.parent()) else {
            return;
        };
        let kept = || -> std::io::Result<()> {
            let file = tempfile::NamedTempFile::new_in(dir)?;
            serde_json::to_writer(&file, &self.files)?;
            file.persist(&self.path)?;
            Ok(())
        };
        let _read_again_next_time = kept();
    }
}

fn look(file: &Path, digest: &str) -> std::io::Result<Fingerprint> {
    let meta = fs_err::metadata(file)?;
    let nanoseconds = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    Ok(Fingerprint {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        mtime: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        ctime: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        digest: digest.to_owned(),
    })
}

fn is_settled(look: &Fingerprint) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let age = i128::try_from(now.as_nanos()).unwrap_or(0) - look.ctime;
    age > i128::try_from(SETTLED.as_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn settle(path: &Path) {
        while !is_settled(&look(path, "").unwrap()) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    #[test]
    fn p6_a_flipped_byte_is_seen_and_what_nobody_touched_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let (file, kept) = (dir.path().join("disk"), dir.path().join("looks"));
        std::fs::write(&file, "content").unwrap();
        let reads = Cell::new(0);
        let check = |expected: &str| {
            let mut looks = FileChecks::open(&kept);
            let result = looks.check(&file, expected, |path| {
                reads.set(reads.get() + 1);
                Ok::<_, ImageError>(std::fs::read_to_string(path).unwrap())
            });
            looks.save();
            result.map_err(|e| e.to_string())
        };
        check("content").unwrap();
        check("content").unwrap();
        assert_eq!(reads.get(), 2, "it might have changed in the same instant");
        settle(&file);
        check("content").unwrap();
        check("content").unwrap();
        assert_eq!(reads.get(), 3);

        let times = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, "contemt").unwrap();
        let back = std::fs::File::options().write(true).open(&file).unwrap();
        back.set_modified(times).unwrap();
        let error = check("content").unwrap_err();
        assert!(
            error.contains("expected digest content, found contemt"),
            "{error}"
        );
        std::fs::write(&file, "conten").unwrap();
        assert!(check("content").unwrap_err().contains("found conten"));
        std::fs::remove_file(&file).unwrap();
        assert!(check("content").unwrap_err().contains("found no file"));
        std::fs::write(&kept, "garbage").unwrap();
        std::fs::write(&file, "content").unwrap();
        check("content").unwrap();
    }

    #[test]
    fn fuzz_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("looks");
        kvmc_fuzz::run("looks", |bytes| {
            std::fs::write(&path, bytes).unwrap();
            let looks = FileChecks::open(&path);
            format!("{}", looks.files.is_empty())
        });
    }
}

//! The cluster's folder, with everything that kvmc knows about the cluster.

use anyhow::{Error, Result};

use super::bench::Host;
use crate::failpoint::failpoint;
use crate::state::{ClusterDir, remove_file};

/// The step that removes the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folder;

impl Folder {
    pub(super) fn remove(self, host: Host<'_>) -> Vec<Error> {
        let removed = || -> Result<()> {
            remove(host.dir)?;
            failpoint!("down.folder");
            Ok(())
        };
        removed().err().into_iter().collect()
    }
}

/// Removes a cluster's folder, the record last. After a kill in between, the rest still belongs to a cluster.
///
/// # Errors
/// Fails if a file or folder cannot be removed.
pub(crate) fn remove(dir: &ClusterDir) -> Result<()> {
    // The copy goes before the record, because a reader without the lock must not find only the copy.
    let last = [dir.last_record(), dir.record(), dir.lock()];
    let entries = match fs_err::read_dir(dir.path()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if last.contains(&path) {
            continue;
        }
        if fs_err::symlink_metadata(&path)?.is_dir() {
            fs_err::remove_dir_all(&path)?;
        } else {
            remove_file(&path)?;
        }
    }
    failpoint!("down.nodes");
    for path in last {
        remove_file(&path)?;
    }
    match fs_err::remove_dir(dir.path()) {
        // The next kvmc already waits for the lock in the folder.
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => return Ok(()),
        removed => removed?,
    }
    // The folder of all clusters goes with the last one. The kernel refuses it while there is another.
    let _others_there = dir.path().parent().map(std::fs::remove_dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    #[test]
    fn p9_the_copy_is_removed_before_the_record_and_the_lock_last() {
        let root = tempfile::tempdir().unwrap();
        let dir = State::at(root.path()).cluster("k80");
        let order = [dir.last_record(), dir.record(), dir.lock()];
        for (stuck, in_the_way) in order.iter().enumerate() {
            std::fs::create_dir_all(dir.node("master0").path()).unwrap();
            for path in &order {
                std::fs::write(path, "").unwrap();
            }
            // A folder in the place of a file cannot be removed as a file, so the removal stops there.
            std::fs::remove_file(in_the_way).unwrap();
            std::fs::create_dir(in_the_way).unwrap();
            let error = remove(&dir).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&in_the_way.display().to_string()),
                "{error}"
            );
            assert!(!dir.node("master0").path().exists(), "the rest goes first");
            for (n, path) in order.iter().enumerate() {
                assert_eq!(path.exists(), n >= stuck, "{} at {stuck}", path.display());
            }
            std::fs::remove_dir(in_the_way).unwrap();
        }
        remove(&dir).unwrap();
        assert!(!dir.path().exists());
    }
}

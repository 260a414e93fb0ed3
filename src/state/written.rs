//! Records which files kvmc writes into the user's folders, before it writes them. `down` removes these files, but not
//! those that the user has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ClusterDir;
use super::plain::Standing;
use super::store::{read_json, replace_json_unsynced, sweep};
use crate::ids::hex;

/// Versions of a file that count as kvmc's. The previous one is kept in case the next writer is killed.
const VERSIONS: usize = 2;

/// In the place of a digest: a folder that kvmc made, which goes when it is empty.
const FOLDER: &str = "folder";

/// `files.json`: each file with the digests of its possible contents, the newest last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Written(BTreeMap<PathBuf, Vec<String>>);

impl Written {
    /// Loads the list of a cluster's files. It is empty if it was never written or is damaged.
    pub(crate) fn load(dir: &ClusterDir) -> Self {
        read_json(&dir.files()).ok().flatten().unwrap_or_default()
    }

    /// Records that these files are about to be written.
    ///
    /// # Errors
    /// Fails if the list cannot be written.
    pub(crate) fn announce<'a>(
        mut self,
        dir: &ClusterDir,
        files: impl Iterator<Item = (PathBuf, &'a str)>,
    ) -> Result<()> {
        for (path, text) in files {
            let known = self.0.entry(path).or_default();
            let digest = digest(text.as_bytes());
            known.retain(|d| *d != digest);
            known.push(digest);
            let surplus = known.len().saturating_sub(VERSIONS);
            known.drain(..surplus);
        }
        replace_json_unsynced(&dir.files(), &self, 0o600)
    }

    /// Records that this folder is about to be made.
    ///
    /// # Errors
    /// Fails if the list cannot be written.
    pub(crate) fn announce_folder(&mut self, dir: &ClusterDir, folder: &Path) -> Result<()> {
        self.0.insert(folder.to_owned(), vec![FOLDER.to_owned()]);
        replace_json_unsynced(&dir.files(), self, 0o600)
    }

    /// Adds a file that an older kvmc wrote without recording it.
    pub(crate) fn assume(&mut self, path: PathBuf, text: &[u8]) {
        self.0.entry(path).or_insert_with(|| vec![digest(text)]);
    }

    /// Whether kvmc wrote these bytes to `path`.
    pub(crate) fn knows(&self, path: &Path, bytes: &[u8]) -> bool {
        let known = self.0.get(path);
        known.is_some_and(|known| known.contains(&digest(bytes)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the files that are unchanged, and the temporary files of a killed writer. Accepts that a file is
    /// missing. Returns a sentence for each file that stays.
    pub(crate) fn remove(&self) -> Vec<String> {
        let mut left = Vec::new();
        // The list has a folder before its files.
        for (path, known) in self.0.iter().rev() {
            if known.iter().any(|d| d == FOLDER) {
                // The user's own files keep it.
                let _not_empty = std::fs::remove_dir(path);
                continue;
            }
            sweep(path);
            let at = path.display();
            let removed = match Standing::look(path) {
                Ok(Standing::Plain(there)) if known.contains(&digest(&there)) => {
                    std::fs::remove_file(path)
                }
                Ok(Standing::Nothing) => Ok(()),
                Ok(_) => {
                    left.push(format!(
                        "not removed, because it was changed after kvmc wrote it: {at}"
                    ));
                    Ok(())
                }
                Err(e) => Err(e),
            };
            match removed {
                Err(e) if !is_gone(&e) => left.push(format!("not removed: {at} ({e})")),
                _ => {}
            }
        }
        left.reverse();
        left
    }

    /// Like [`Self::remove`], for the files that are not in `folder`. They leave the list.
    ///
    /// # Errors
    /// Fails if the list cannot be written.
    pub(crate) fn remove_elsewhere(
        mut self,
        dir: &ClusterDir,
        folder: &Path,
    ) -> Result<Vec<String>> {
        let mut elsewhere = Self::default();
        self.0.retain(|path, known| {
            let stays = path == folder || path.parent() == Some(folder);
            if !stays {
                elsewhere.0.insert(path.clone(), std::mem::take(known));
            }
            stays
        });
        if elsewhere.is_empty() {
            return Ok(Vec::new());
        }
        let left = elsewhere.remove();
        replace_json_unsynced(&dir.files(), &self, 0o600)?;
        Ok(left)
    }
}

/// Whether a file, or its folder, does not exist.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn p3_unchanged_files_are_removed_and_changed_ones_stay() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().display().to_string();
        let dir = State::locate(|n| (n == "KVMC_STATE_DIR").then(|| root.clone()), true)
            .unwrap()
            .cluster("k80");
        std::fs::create_dir_all(dir.path()).unwrap();
        let [a, b] = ["a", "b"].map(|n| temp.path().join(n));
        let announce = |text: &'static str| {
            let files = [(a.clone(), text), (b.clone(), text)];
            Written::load(&dir)
                .announce(&dir, files.into_iter())
                .unwrap();
        };
        announce("first");
        std::fs::write(&a, "first").unwrap();
        // The writer was killed before the second version was written, or while it was.
        announce("second");
        std::fs::write(temp.path().join(".a.kvmc-new-x1"), "sec").unwrap();
        std::fs::write(&b, "the user's").unwrap();
        let left = Written::load(&dir).remove();
        let told = format!(
            "not removed, because it was changed after kvmc wrote it: {}",
            b.display()
        );
        assert_eq!(left, [told]);
        assert!(b.exists() && !a.exists());
        assert!(!temp.path().join(".a.kvmc-new-x1").exists());
        std::fs::write(dir.files(), "{").unwrap();
        assert!(Written::load(&dir).is_empty());
    }

    #[test]
    fn files_that_moved_are_gone_where_they_were_and_a_folder_goes_when_it_is_empty() {
        let temp = tempfile::tempdir().unwrap();
        let dir = State::at(temp.path()).cluster("k80");
        std::fs::create_dir_all(dir.path()).unwrap();
        let [old, new] = ["old", "new"].map(|n| temp.path().join(n));
        for folder in [&old, &new] {
            Written::load(&dir).announce_folder(&dir, folder).unwrap();
            std::fs::create_dir(folder).unwrap();
            let file = folder.join("inventory");
            let files = [(file.clone(), "text")].into_iter();
            Written::load(&dir).announce(&dir, files).unwrap();
            std::fs::write(&file, "text").unwrap();
        }
        let left = Written::load(&dir).remove_elsewhere(&dir, &new).unwrap();
        assert!(left.is_empty() && !old.exists() && new.exists(), "{left:?}");
        // The folder above has none of them.
        let file = temp.path().join("inventory");
        let files = [(file.clone(), "text")].into_iter();
        Written::load(&dir).announce(&dir, files).unwrap();
        std::fs::write(&file, "text").unwrap();
        Written::load(&dir).remove_elsewhere(&dir, &new).unwrap();
        assert!(!file.exists() && new.join("inventory").exists());
        std::fs::write(new.join("mine"), "").unwrap();
        assert!(Written::load(&dir).remove().is_empty());
        assert!(new.join("mine").exists() && !new.join("inventory").exists());
    }
}

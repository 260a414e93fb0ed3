//! Records which files kvmc writes into the user's folders, before it writes them. `down` removes these files, but not
//! those that the user has changed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ClusterDir;
use super::store::{read_json, remove_file, replace_json_unsynced, sweep};
use crate::ids::hex;

/// Versions of a file that count as kvmc's. The previous one is kept in case the next writer is killed.
const VERSIONS: usize = 2;

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes the files that are unchanged, and the temporary files of a killed writer. Accepts that a file is
    /// missing.
    ///
    /// # Errors
    /// Fails if files were changed, which stay, or if a file cannot be removed.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut changed = Vec::new();
        for (path, known) in &self.0 {
            sweep(path);
            match std::fs::read(path) {
                Ok(there) if known.contains(&digest(&there)) => remove_file(path)?,
                Ok(_) => changed.push(path.display().to_string()),
                Err(_) => {}
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        bail!(
            "not removed, because they were changed after kvmc wrote them: {}",
            changed.join(", ")
        )
    }
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
        let error = Written::load(&dir).remove().unwrap_err().to_string();
        assert!(error.contains("/b") && !error.contains("/a,"), "{error}");
        assert!(b.exists() && !a.exists());
        assert!(!temp.path().join(".a.kvmc-new-x1").exists());
        std::fs::write(dir.files(), "{").unwrap();
        assert!(Written::load(&dir).is_empty());
    }
}

//! Measures folders whose files may have links in other folders, as those of a fork.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The files with several links that were counted.
#[derive(Debug, Default)]
pub(super) struct Counted(HashSet<(u64, u64)>);

impl Counted {
    /// Bytes that a folder takes, and those of files that were counted in another one.
    pub(super) fn folder(&mut self, folder: &Path) -> (u64, u64) {
        let (mut own, mut shared) = (0, 0);
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            let bytes = meta.blocks() * 512;
            if meta.is_dir() {
                let below = self.folder(&entry.path());
                own += below.0;
                shared += below.1;
            } else if meta.nlink() > 1 && !self.0.insert((meta.dev(), meta.ino())) {
                shared += bytes;
            } else {
                own += bytes;
            }
        }
        (own, shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_links_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(first.join("below")).unwrap();
        std::fs::create_dir(&second).unwrap();
        std::fs::write(first.join("below/x"), [1; 8192]).unwrap();
        std::fs::hard_link(first.join("below/x"), second.join("y")).unwrap();
        std::fs::write(second.join("z"), [1; 4096]).unwrap();
        let mut counted = Counted::default();
        assert_eq!(counted.folder(&first), (8192, 0));
        assert_eq!(counted.folder(&second), (4096, 8192));
    }
}

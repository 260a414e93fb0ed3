//! Tags: names that users and the catalogue give to images. Each is a file, which kvmc replaces as a whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;
use crate::error::ImageError;

/// Longest name, in bytes. The name and the architecture form a file's name.
const LONGEST: usize = 100;

/// The folder of tags below the store's.
#[derive(Debug, Clone)]
pub(crate) struct Tags {
    dir: PathBuf,
}

impl Tags {
    pub(crate) fn open(images: &Path) -> Self {
        Self {
            dir: images.join("tags"),
        }
    }

    /// The image that has a tag.
    pub(crate) fn get(&self, name: &str, architecture: Architecture) -> Option<String> {
        let text = std::fs::read_to_string(self.path(name, architecture)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Gives a tag to an image, and takes it from another.
    ///
    /// # Errors
    /// The tag cannot be written.
    pub(crate) fn set(
        &self,
        name: &str,
        architecture: Architecture,
        id: &str,
    ) -> Result<(), ImageError> {
        fs_err::create_dir_all(&self.dir)?;
        let path = self.path(name, architecture);
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)
            .map_err(ImageError::io(format!("write in {}", self.dir.display())))?;
        writeln!(file, "{id}")?;
        file.as_file().sync_all()?;
        file.persist(&path)
            .map_err(|e| e.error)
            .map_err(ImageError::io(format!("write {}", path.display())))?;
        Ok(())
    }

    /// All tags, with their images.
    pub(crate) fn all(&self) -> BTreeMap<(String, Architecture), String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let parts = |entry: std::fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            let (name, architecture) = file.rsplit_once('@')?;
            let architecture = architecture.parse().ok()?;
            let id = self.get(name, architecture)?;
            Some(((name.to_owned(), architecture), id))
        };
        entries.filter_map(parts).collect()
    }

    /// Removes the tags of an image.
    pub(crate) fn forget(&self, id: &str) {
        for ((name, architecture), tagged) in self.all() {
            if tagged == id {
                let _gone_already = std::fs::remove_file(self.path(&name, architecture));
            }
        }
    }

    fn path(&self, name: &str, architecture: Architecture) -> PathBuf {
        self.dir.join(format!("{name}@{architecture}"))
    }
}

/// Checks that a word can be a tag.
///
/// # Errors
/// The word is not valid; the error says what is.
pub(crate) fn valid(name: &str) -> Result<(), ImageError> {
    let fine = name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b));
    if fine {
        Ok(())
    } else {
        Err(ImageError::Recipe {
            what: format!(
                "invalid image name `{}`; expected 1 to {LONGEST} letters, digits and - _ . +, beginning with a letter or digit",
                name.escape_debug()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_last_that_it_was_given_to() {
        let dir = tempfile::tempdir().unwrap();
        let tags = Tags::open(dir.path());
        assert_eq!(tags.get("a", Architecture::Amd64), None);
        tags.set("a", Architecture::Amd64, "1").unwrap();
        tags.set("a", Architecture::Amd64, "2").unwrap();
        tags.set("a", Architecture::Arm64, "3").unwrap();
        assert_eq!(tags.get("a", Architecture::Amd64).as_deref(), Some("2"));
        assert_eq!(tags.get("a", Architecture::Arm64).as_deref(), Some("3"));
        tags.forget("2");
        assert_eq!(tags.all().len(), 1);
    }

    #[test]
    fn names_are_no_paths() {
        for bad in [
            "",
            "../x",
            "a/b",
            "-x",
            ".x",
            "a b",
            "a@b",
            "of:x",
            &"x".repeat(101),
        ] {
            assert!(valid(bad).is_err(), "{bad}");
        }
        valid("k8s-ready_1.2").unwrap();
    }
}

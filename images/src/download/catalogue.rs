//! The catalogue: names of images and their addresses, built in or from the user's file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::checksum::Checksum;
use crate::architecture::Architecture;
use crate::error::ImageError;
use crate::image::Boot;

const OURS: &str = include_str!("catalogue.toml");

/// Images by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    images: BTreeMap<String, Entry>,
}

/// An image of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its description, one line.
    #[serde(default)]
    pub about: String,
    /// Its source for amd64.
    pub amd64: Option<Source>,
    /// Its source for arm64.
    pub arm64: Option<Source>,
}

/// The source of an image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The image's address.
    pub url: String,
    /// The address of the publisher's checksums.
    pub sums: Option<String>,
    /// The address of their detached signature; none for a clear-signed list.
    pub signature: Option<String>,
    /// Files of this host that may have the publisher's keys.
    #[serde(default)]
    pub keyrings: Vec<String>,
    /// The checksum, for a source without a list.
    pub checksum: Option<String>,
    /// `bios` or `uefi`; `None` for the architecture's default.
    pub firmware: Option<Boot>,
}

/// How a download is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// By this checksum.
    Given(Checksum),
    /// By the publisher's list.
    Listed {
        /// The list's address.
        sums: String,
        /// The address of its detached signature.
        signature: Option<String>,
        /// Files that may have the publisher's keys.
        keyrings: Vec<String>,
    },
    /// Not at all: `--insecure`.
    Insecure,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(flatten)]
    images: BTreeMap<String, Entry>,
}

impl Catalogue {
    /// The built-in catalogue.
    ///
    /// # Errors
    /// The built-in file is not valid. A test rules this out.
    pub fn built_in() -> Result<Self, ImageError> {
        Self::default().with(Path::new("catalogue.toml"), OURS)
    }

    /// Adds the images of another file, which replace those of the same name.
    ///
    /// # Errors
    /// The file is not valid; the error has its path and line.
    pub fn with(mut self, path: &Path, text: &str) -> Result<Self, ImageError> {
        let file: File = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |s| s.start);
            let line = text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
            wrong(path, line, e.message())
        })?;
        for (name, entry) in &file.images {
            let at = text
                .lines()
                .position(|l| l.trim_start().starts_with(&format!("[{name}")));
            let line = at.map_or(1, |n| n + 1);
            crate::tags::valid(name).map_err(|e| wrong(path, line, &e.to_string()))?;
            for source in [&entry.amd64, &entry.arm64].into_iter().flatten() {
                if let Some(checksum) = &source.checksum {
                    let _fine: Checksum = checksum
                        .parse()
                        .map_err(|e: ImageError| wrong(path, line, &e.to_string()))?;
                }
            }
        }
        self.images.extend(file.images);
        Ok(self)
    }

    /// All images, sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.images
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// The source of an image.
    #[must_use]
    pub fn get(&self, name: &str, architecture: Architecture) -> Option<&Source> {
        self.images.get(name)?.of(architecture)
    }

    /// True where the name is known for any architecture.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.images.contains_key(name)
    }
}

impl Entry {
    /// Its source for an architecture.
    #[must_use]
    pub const fn of(&self, architecture: Architecture) -> Option<&Source> {
        match architecture {
            Architecture::Amd64 => self.amd64.as_ref(),
            Architecture::Arm64 => self.arm64.as_ref(),
        }
    }
}

impl Source {
    /// How it is verified; `None` where it has no list and no checksum.
    #[must_use]
    pub fn verification(&self) -> Option<Verification> {
        if let Some(checksum) = &self.checksum {
            return checksum.parse().ok().map(Verification::Given);
        }
        Some(Verification::Listed {
            sums: self.sums.clone()?,
            signature: self.signature.clone(),
            keyrings: self.keyrings.clone(),
        })
    }
}

fn wrong(path: &Path, line: usize, what: &str) -> ImageError {
    ImageError::Recipe {
        what: format!(
            "{}:{line}: {}",
            path.display(),
            what.trim().replace('\n', ", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_has_every_name_for_both_architectures_and_nothing_unverified() {
        let catalogue = Catalogue::built_in().unwrap();
        let names: Vec<_> = catalogue.entries().map(|(n, _)| n).collect();
        for name in [
            "almalinux",
            "alpine",
            "debian-12",
            "debian-13",
            "fedora",
            "ubuntu-24.04",
            "ubuntu-26.04",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        for (name, entry) in catalogue.entries() {
            for architecture in Architecture::ALL {
                let source = entry
                    .of(architecture)
                    .unwrap_or_else(|| panic!("{name} {architecture}"));
                assert!(source.url.starts_with("https://"), "{name}");
                let Some(Verification::Listed { sums, .. }) = source.verification() else {
                    panic!("{name} is not verified")
                };
                assert!(sums.starts_with("https://"), "{name}");
                assert!(!source.url.contains("nocloud-"), "{name}");
            }
        }
    }

    #[test]
    fn the_users_file_wins_and_its_faults_have_a_line() {
        let path = Path::new("/c/images.toml");
        let mine = "[debian-13.amd64]\nurl = \"https://me/d.img\"\nchecksum = \"sha256:00\"\n";
        let say = |text: &str| {
            Catalogue::default()
                .with(path, text)
                .unwrap_err()
                .to_string()
        };
        assert!(say(mine).contains("images.toml:1: ") && say(mine).contains("got 2"));
        let mine = mine.replace("00", &"0".repeat(64));
        let catalogue = Catalogue::built_in().unwrap().with(path, &mine).unwrap();
        let source = catalogue.get("debian-13", Architecture::Amd64).unwrap();
        assert_eq!(source.url, "https://me/d.img");
        assert!(catalogue.get("debian-13", Architecture::Arm64).is_none());
        let odd = say("[x.amd64]\nurl = \"u\"\nsum = \"y\"\n");
        assert!(odd.contains("unknown field `sum`"), "{odd}");
        assert!(
            say("[x]\n[y").contains("images.toml:2"),
            "{}",
            say("[x]\n[y")
        );
    }

    #[test]
    fn fuzz_catalogue() {
        kvmc_fuzz::run("catalogue", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            match Catalogue::default().with(Path::new("images.toml"), &text) {
                Ok(all) => {
                    for (_, entry) in all.entries() {
                        for source in Architecture::ALL.into_iter().filter_map(|a| entry.of(a)) {
                            let _any = source.verification();
                        }
                    }
                    "ok".to_owned()
                }
                Err(e) => e.to_string(),
            }
        });
    }
}

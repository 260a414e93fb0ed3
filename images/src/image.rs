//! An image: its files, its boot method, the program that takes the identity in it, and its origin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::error::ImageError;
use crate::recipe::Recipe;

/// Version of `image.json`. Version 1 had only images built from packages.
pub(crate) const FORMAT: u32 = 2;
/// The root disk.
pub(crate) const DISK: &str = "disk.qcow2";
/// The meta data of an image, [`Meta`].
pub(crate) const META: &str = "image.json";
const KERNEL: &str = "vmlinuz";
const INITRD: &str = "initrd";

/// How a machine boots from an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// QEMU loads the kernel and initrd that lie beside the disk.
    Direct,
    /// PC BIOS (`SeaBIOS`) loads a boot loader from the disk.
    Bios,
    /// UEFI loads a boot loader from the disk's EFI system partition.
    Uefi,
}

impl Boot {
    /// Its name in `image.json` and `--firmware`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

/// The program that takes the identity in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guest {
    /// kvmc's agent.
    Agent,
    /// cloud-init, once, from a `NoCloud` seed. It sends no answers to the host.
    CloudInit,
}

impl Guest {
    /// Its name in messages and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::CloudInit => "cloud-init",
        }
    }
}

/// The origin of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Origin {
    /// Built from packages.
    Built {
        /// Its recipe.
        recipe: Recipe,
    },
    /// Downloaded.
    Pulled {
        /// The address.
        url: String,
        /// The publisher's checksum, `sha512:…` or `sha256:…`; `None` with `--insecure`.
        checksum: Option<String>,
        /// The keyring that verified the checksums' signature.
        keyring: Option<String>,
    },
    /// Copied from a user's file.
    Imported {
        /// The file.
        path: PathBuf,
        /// Its path, size, inode and time of change, which identify it.
        stamp: String,
    },
    /// Its parent after its first boot, with the agent.
    Prepared,
    /// Its parent after a script ran in it.
    Provisioned {
        /// SHA-256 of the script.
        script: String,
    },
    /// A stopped node's disk.
    Committed {
        /// `cluster/node`.
        node: String,
    },
}

impl Origin {
    /// A short description.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Built { .. } => "built from packages".to_owned(),
            Self::Pulled { url, checksum, .. } => match checksum {
                Some(_) => format!("pulled from {url}"),
                None => format!("pulled, unverified, from {url}"),
            },
            Self::Imported { path, .. } => format!("imported from {}", path.display()),
            Self::Prepared => "prepared: the agent added".to_owned(),
            Self::Provisioned { .. } => "built by a script".to_owned(),
            Self::Committed { node } => format!("committed from {node}"),
        }
    }
}

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its content.
    pub id: String,
    /// Its name in messages and tables.
    pub name: String,
    /// The guest's instruction set.
    pub architecture: Architecture,
    /// How a machine boots from it.
    pub boot: Boot,
    /// The program that takes the identity in it.
    pub guest: Guest,
    /// Its origin.
    pub origin: Origin,
    /// The image whose disk is its disk's backing file.
    pub parent: Option<String>,
    /// When it was stored, in seconds after the epoch; 0 if unknown.
    pub created: u64,
    /// Its folder.
    pub directory: PathBuf,
    /// Its disk, then its parents' disks, the nearest first; qcow2.
    pub layers: Vec<PathBuf>,
    /// Size of its disk as a guest sees it, in bytes.
    pub virtual_size: u64,
    pub(crate) digests: BTreeMap<String, String>,
}

impl Image {
    /// The root disk, qcow2.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.directory.join(DISK)
    }

    /// The kernel, if QEMU loads one.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.directory.join(KERNEL)
    }

    /// The initrd, if QEMU loads one.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.directory.join(INITRD)
    }

    /// The digests of the kernel and the initrd that QEMU loads, SHA-256 in hex; empty if it loads none.
    #[must_use]
    pub fn kernel_digests(&self) -> String {
        let files = [KERNEL, INITRD].iter();
        let digests: Vec<_> = files
            .filter_map(|file| self.digests.get(*file).map(String::as_str))
            .collect();
        digests.join(" ")
    }

    /// The digest of its disk file, SHA-256 in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.digests.get(DISK).map_or("", String::as_str)
    }
}

/// `image.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) format: u32,
    pub(crate) name: String,
    /// [`Recipe::key`], by which kvmc finds it again.
    pub(crate) key: Option<String>,
    pub(crate) architecture: Architecture,
    pub(crate) boot: Boot,
    pub(crate) guest: Guest,
    pub(crate) origin: Origin,
    pub(crate) parent: Option<String>,
    pub(crate) created: u64,
    /// SHA-256 of each file.
    pub(crate) digests: BTreeMap<String, String>,
}

/// `image.json` of format 1.
#[derive(Debug, Deserialize)]
struct MetaFormat1 {
    key: String,
    recipe: Recipe,
    digests: Vec<String>,
}

impl Meta {
    /// The names of an image's files.
    pub(crate) const fn files(boot: Boot) -> &'static [&'static str] {
        match boot {
            Boot::Direct => &[DISK, KERNEL, INITRD],
            Boot::Bios | Boot::Uefi => &[DISK],
        }
    }

    /// The meta data of a template of `recipe`.
    pub(crate) fn built(recipe: &Recipe) -> Self {
        Self {
            format: FORMAT,
            name: recipe.name(),
            key: Some(recipe.key()),
            architecture: recipe.architecture,
            boot: Boot::Direct,
            guest: Guest::Agent,
            origin: Origin::Built {
                recipe: recipe.clone(),
            },
            parent: None,
            created: now(),
            digests: BTreeMap::new(),
        }
    }

    /// Reads `image.json` of any format.
    ///
    /// # Errors
    /// The text is damaged, or of a newer format.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ImageError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let unfit = |why: String| ImageError::Unfit {
            path: path.to_owned(),
            why,
        };
        let damaged = |e: serde_json::Error| unfit(format!("is damaged: {e}"));
        let Version { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        match format {
            1 => {
                let first: MetaFormat1 = serde_json::from_slice(bytes).map_err(damaged)?;
                let files = Self::files(Boot::Direct).iter().map(|f| (*f).to_owned());
                Ok(Self {
                    key: Some(first.key),
                    created: 0,
                    digests: files.zip(first.digests).collect(),
                    ..Self::built(&first.recipe)
                })
            }
            FORMAT => serde_json::from_slice(bytes).map_err(damaged),
            newer => Err(unfit(format!(
                "has format {newer}; this kvmc reads up to {FORMAT}; use the kvmc that wrote it"
            ))),
        }
    }
}

/// Seconds after the epoch.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_format_is_read_and_a_newer_one_is_refused() {
        let path = Path::new("image.json");
        let first = br#"{"format":1,"key":"k","recipe":{"suite":"trixie","architecture":"amd64","mirror":null,"packages":[]},"digests":["a","b","c"]}"#;
        let meta = Meta::parse(path, first).unwrap();
        assert_eq!(meta.name, "debian-13-amd64");
        assert_eq!(meta.boot, Boot::Direct);
        assert_eq!(meta.digests["initrd"], "c");
        let text = serde_json::to_vec(&meta).unwrap();
        assert_eq!(Meta::parse(path, &text).unwrap().key.as_deref(), Some("k"));
        let error = Meta::parse(path, br#"{"format":9}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("format 9"), "{error}");
        assert!(Meta::parse(path, b"{").is_err());
    }

    #[test]
    fn fuzz_meta() {
        kvmc_fuzz::run("image-meta", |bytes| {
            match Meta::parse(Path::new("m"), bytes) {
                Ok(meta) => format!("{} files", meta.digests.len()),
                Err(e) => e.to_string(),
            }
        });
    }
}

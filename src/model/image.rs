//! Images of the store and of the catalogue, as shown to the user.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kvmc_images::{Architecture, Boot, Guest, Origin};
use schemars::JsonSchema;
use serde::Serialize;

/// An image in the store.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ImageReport {
    /// Its digest.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    #[schemars(with = "String")]
    pub(crate) architecture: Architecture,
    #[schemars(with = "String")]
    pub(crate) boot: Boot,
    #[schemars(with = "String")]
    pub(crate) guest: Guest,
    /// `how` names its kind; the other properties are of that kind.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(crate) origin: Origin,
    /// The digest of its backing image.
    pub(crate) parent: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// Size of its disk in bytes, as a guest sees it.
    pub(crate) virtual_size: u64,
    /// Size on this host in bytes.
    pub(crate) size: u64,
    /// Another version of kvmc made it, and this version's `up` would not use it.
    pub(crate) outdated: bool,
    /// SHA-256 of the disk.
    pub(crate) digest: String,
    /// Clusters and images that need it.
    pub(crate) used_by: Vec<String>,
    pub(crate) frozen: Vec<FrozenReport>,
}

impl ImageReport {
    /// Its tags, or else its own name.
    pub(crate) fn names(&self) -> String {
        if self.tags.is_empty() {
            self.name.clone()
        } else {
            self.tags.join(" ")
        }
    }

    /// Its kind, in a few words.
    pub(crate) fn kind(&self) -> String {
        let verified = match &self.origin {
            Origin::Pulled { checksum: None, .. } => ", UNVERIFIED",
            _ => "",
        };
        let outdated = if self.outdated { ", outdated" } else { "" };
        format!(
            "{}, {}{verified}{outdated}",
            self.guest.name(),
            self.boot.name()
        )
    }
}

/// The result of `image export`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ImageExport {
    /// Its digest.
    pub(crate) image: String,
    pub(crate) file: PathBuf,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// The result of `image rm`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ImageRemoval {
    /// The digest of the image that was removed.
    pub(crate) removed: String,
}

/// The result of `image prune`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ImagePruning {
    /// Bytes.
    pub(crate) freed: u64,
}

/// A frozen machine of an image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct FrozenReport {
    pub(crate) id: String,
    /// Size on this host in bytes.
    pub(crate) size: u64,
    /// Clusters with a node whose disk lies on it.
    pub(crate) clusters: Vec<String>,
    /// Its shape and disk, in words.
    #[serde(skip)]
    pub(crate) shape: String,
}

/// An image with details that need a look at its files.
#[derive(Debug, Clone)]
pub(crate) struct ImageDetail {
    pub(crate) image: ImageReport,
    pub(crate) directory: String,
    /// Every byte was compared with its digest in the store.
    pub(crate) verified: bool,
}

/// An entry of the catalogue.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct CatalogueEntry {
    pub(crate) name: String,
    pub(crate) about: String,
    /// The URLs by architecture.
    pub(crate) urls: BTreeMap<String, String>,
}

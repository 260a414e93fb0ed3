//! Images of the store and of the catalogue, as they are shown.

use std::collections::BTreeMap;

use kvmc_images::{Architecture, Boot, Guest, Origin};
use serde::Serialize;

/// An image of the store.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageReport {
    /// Its digest.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) architecture: Architecture,
    pub(crate) boot: Boot,
    pub(crate) guest: Guest,
    pub(crate) origin: Origin,
    /// Digest of the image that it lies on.
    pub(crate) parent: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// In bytes, as a guest sees its disk.
    pub(crate) virtual_size: u64,
    /// In bytes, on this host.
    pub(crate) size: u64,
    /// Another version of kvmc made it, and no `up` of this one would take it by itself.
    pub(crate) outdated: bool,
    /// SHA-256 of the disk.
    pub(crate) digest: String,
    /// Clusters and images that need it.
    pub(crate) used_by: Vec<String>,
    pub(crate) frozen: Vec<FrozenReport>,
}

impl ImageReport {
    /// What it is called: its tags, and its own name where it has none.
    pub(crate) fn names(&self) -> String {
        if self.tags.is_empty() {
            self.name.clone()
        } else {
            self.tags.join(" ")
        }
    }

    /// What it is, in a few words.
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

/// A machine frozen of an image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FrozenReport {
    pub(crate) id: String,
    /// In bytes, on this host.
    pub(crate) size: u64,
    /// Clusters with a node that lies on it.
    pub(crate) clusters: Vec<String>,
    /// Its shape and disk, in words.
    #[serde(skip)]
    pub(crate) shape: String,
}

/// An image with what only a look at itself tells.
#[derive(Debug, Clone)]
pub(crate) struct ImageDetail {
    pub(crate) image: ImageReport,
    pub(crate) directory: String,
    /// Every byte was compared with what came into the store.
    pub(crate) verified: bool,
}

/// A name of the catalogue.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CatalogueEntry {
    pub(crate) name: String,
    pub(crate) about: String,
    /// By architecture.
    pub(crate) urls: BTreeMap<String, String>,
}

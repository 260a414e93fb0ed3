//! Chooses the image of each role's nodes: found in the store by its name, or made.

mod intact;
mod make;
mod source;
mod wanted;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kvmc_images::{Guest, Image, ImageHold, Store};

use crate::state::NodeRecord;

pub(crate) use intact::{check_cluster_intact, check_intact};
pub(crate) use make::{build, pull, with_cure};
pub(crate) use source::{
    PullOptions, at, catalogue, firmware, in_store, is_outdated, line, name_of, named,
};
pub(crate) use wanted::{WantedImages, recipe};

/// What the record of a new node needs to know of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The digest; empty while the image does not exist yet.
    pub(crate) id: String,
    pub(crate) guest: Guest,
    /// In bytes; 0 while the image does not exist yet.
    pub(crate) virtual_size: u64,
}

/// The images of one cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Images {
    by_role: BTreeMap<String, Image>,
    by_id: BTreeMap<String, Image>,
}

impl Images {
    fn insert(&mut self, role: &str, image: Image) {
        self.by_role.insert(role.to_owned(), image.clone());
        self.by_id.insert(image.id.clone(), image);
    }

    /// The image of each role's new nodes.
    pub(crate) fn by_role(&self) -> impl Iterator<Item = (&str, &Image)> {
        self.by_role
            .iter()
            .map(|(role, image)| (role.as_str(), image))
    }

    /// Replaces the image of a role's new nodes.
    pub(crate) fn replace(&mut self, role: &str, image: Image) {
        self.insert(role, image);
    }

    fn keep(&mut self, image: Image) {
        self.by_id.insert(image.id.clone(), image);
    }

    /// The image that a node's disk lies on.
    ///
    /// # Errors
    /// Fails if this run has not looked the image up.
    pub(crate) fn of(&self, node: &NodeRecord) -> Result<&Image> {
        let id = node.base.image();
        self.by_id
            .get(id)
            .with_context(|| format!("the image {id} of {} was not looked up", node.name))
    }

    /// Protects all images from removal. Until the record that names them is written, no other process knows that they
    /// are needed.
    ///
    /// # Errors
    /// Fails if an image is missing.
    pub(crate) fn hold(&self, store: &Store) -> Result<Vec<ImageHold>> {
        self.ids().map(|id| Ok(store.hold(id)?)).collect()
    }

    /// The digests of all images.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(String::as_str)
    }

    /// What the records of new nodes need to know, by role.
    pub(crate) fn picks(&self) -> BTreeMap<String, Pick> {
        let pick = |image: &Image| Pick {
            id: image.id.clone(),
            guest: image.guest,
            virtual_size: image.virtual_size,
        };
        self.by_role
            .iter()
            .map(|(r, i)| (r.clone(), pick(i)))
            .collect()
    }
}

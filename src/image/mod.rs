//! Which image each role's nodes lie on: asked for by name, found in the store or made.

mod intact;
mod make;
mod source;
mod wanted;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kvmc_images::{Guest, Image, ImageHold, Store};

use crate::state::NodeRecord;

pub(crate) use intact::{check_cluster_intact, check_intact};
pub(crate) use make::{build, pull};
pub(crate) use source::{
    Asked, at, catalogue, firmware, in_store, is_outdated, line, name_of, named,
};
pub(crate) use wanted::{Wanted, recipe};

/// What a new node has to know of its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Its digest; empty while it is still to be made.
    pub(crate) id: String,
    pub(crate) guest: Guest,
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

    /// Gives a role's new nodes another image.
    pub(crate) fn replace(&mut self, role: &str, image: Image) {
        self.insert(role, image);
    }

    fn keep(&mut self, image: Image) {
        self.by_id.insert(image.id.clone(), image);
    }

    /// The image that a node lies on.
    ///
    /// # Errors
    /// That it is not among those of this run.
    pub(crate) fn of(&self, node: &NodeRecord) -> Result<&Image> {
        let id = node.base.image();
        self.by_id
            .get(id)
            .with_context(|| format!("the image {id} of {} was not looked up", node.name))
    }

    /// Keeps them all from being removed: until the record that names them is written nobody else knows.
    ///
    /// # Errors
    /// One that is gone.
    pub(crate) fn hold(&self, store: &Store) -> Result<Vec<ImageHold>> {
        self.ids().map(|id| Ok(store.hold(id)?)).collect()
    }

    /// The digests of them all.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(String::as_str)
    }

    /// What new nodes of each role are to know.
    pub(crate) fn picks(&self) -> BTreeMap<String, Pick> {
        let pick = |image: &Image| Pick {
            id: image.id.clone(),
            guest: image.guest,
        };
        self.by_role
            .iter()
            .map(|(r, i)| (r.clone(), pick(i)))
            .collect()
    }
}

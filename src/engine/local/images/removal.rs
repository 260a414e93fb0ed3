//! Removes images, and finds what still uses them.

use std::collections::BTreeSet;

use anyhow::Result;
use kvmc_images::{Image, Store};

use super::architecture;
use crate::engine::local::Local;
use crate::engine::local::snapshot::needs;
use crate::hint::bail_with_hint;
use crate::image;
use crate::snapshot::NodePart;
use crate::state::ClusterRecord;

/// What a `prune` removes, by ids, each image after its children.
#[derive(Debug)]
pub(in crate::engine::local) struct Prunable {
    pub(in crate::engine::local) frozen: Vec<String>,
    pub(in crate::engine::local) images: Vec<String>,
}

impl Prunable {
    fn has_frozen(&self, id: &str) -> bool {
        self.frozen.iter().any(|other| other == id)
    }
}

impl Local {
    /// Removes an image that no cluster and no other image uses. Returns its digest.
    ///
    /// # Errors
    /// Fails if there is no such image, or if something uses it.
    pub(crate) fn remove_image(&self, name: &str, asked: Option<&str>) -> Result<String> {
        let store = self.store();
        let image = image::in_store(&store, name, architecture(asked)?)?;
        let users = self.users(&store, &image.id)?;
        if !users.is_empty() {
            bail_with_hint!(
                "remove these users first",
                "image {} is used by {}",
                image.id,
                users.join(", ")
            );
        }
        let frozen = self.frozen();
        let of_it: Vec<_> = frozen
            .list()?
            .into_iter()
            .filter(|f| f.shape().image == image.id)
            .map(|f| f.id)
            .collect();
        frozen.prune(|name| !of_it.iter().any(|id| id == name))?;
        store.remove(&image.id)?;
        Ok(image.id)
    }

    /// Removes frozen machines, prepared images and outdated templates that no cluster uses. With `all`, also removes
    /// those that `up` would use. Returns the number of bytes freed.
    ///
    /// # Errors
    /// Fails if something cannot be read or removed.
    pub(crate) fn prune_images(&self, all: bool) -> Result<u64> {
        let (store, what) = (self.store(), self.prunable(all)?);
        // Frozen machines go before the image that they are made from.
        // Another verb may have begun to use one.
        let stays = |id: &str| !what.has_frozen(id) || !self.users_of_frozen(id).is_empty();
        let (gone, mut bytes) = self.frozen().prune(stays)?;
        for id in &gone {
            self.progress
                .say(&format!("removed the frozen machine {id}"));
        }
        bytes += store.sweep_pulls()?;
        for id in &what.images {
            let image = store.get(id)?;
            // Another verb may have begun to use it.
            if !self.users(&store, id)?.is_empty() {
                continue;
            }
            bytes += store.size(&image);
            store.remove(id)?;
            let line = image::line(&image);
            self.progress.say(&format!("removed the image {line}"));
        }
        Ok(bytes)
    }

    /// What [`Self::prune_images`] would remove.
    ///
    /// # Errors
    /// Fails if something cannot be read.
    pub(in crate::engine::local) fn prunable(&self, all: bool) -> Result<Prunable> {
        let (store, frozen) = (self.store(), self.frozen());
        let images = store.list()?;
        let mut outdated = BTreeSet::new();
        for image in &images {
            if image::is_outdated(&store, image)? {
                outdated.insert(image.id.as_str());
            }
        }
        let is_outdated = |image: &&Image| outdated.contains(image.id.as_str());
        let machines = frozen.list()?;
        let is_current = |id: &str| {
            let machine = machines.iter().find(|f| f.id == id);
            let current = |i: &Image| machine.is_some_and(|f| f.shape().is_current(i));
            images.iter().any(|i| !is_outdated(&i) && current(i))
        };
        let ids = frozen.sizes()?.into_iter().map(|(id, _)| id);
        let frozen = ids
            .filter(|id| self.users_of_frozen(id).is_empty() && (all || !is_current(id)))
            .collect();
        let may_go: Vec<_> = images.iter().filter(|i| all || is_outdated(i)).collect();
        // A parent follows its children once nothing else uses it.
        let mut gone: Vec<String> = Vec::new();
        loop {
            let before = gone.len();
            for image in &may_go {
                if !gone.contains(&image.id)
                    && self.users_beside(&store, &image.id, &gone)?.is_empty()
                {
                    gone.push(image.id.clone());
                }
            }
            if gone.len() == before {
                return Ok(Prunable {
                    frozen,
                    images: gone,
                });
            }
        }
    }

    /// The clusters with a node whose disk lies on a frozen machine, or with a snapshot whose memory does.
    pub(in crate::engine::local) fn users_of_frozen(&self, id: &str) -> Vec<String> {
        self.clusters(
            |r| r.nodes.iter().any(|n| n.base.frozen() == Some(id)),
            |part| part.frozen.as_deref() == Some(id),
        )
    }

    /// The clusters and images that lie on an image.
    pub(super) fn users(&self, store: &Store, id: &str) -> Result<Vec<String>> {
        self.users_beside(store, id, &[])
    }

    /// The users of an image except the images `gone`.
    fn users_beside(&self, store: &Store, id: &str, gone: &[String]) -> Result<Vec<String>> {
        let mut users: Vec<_> = self
            .clusters(
                |r| r.nodes.iter().any(|n| n.base.image() == id),
                |part| part.fits.image == id,
            )
            .into_iter()
            .map(|name| format!("cluster {name}"))
            .collect();
        if store.is_held(id) {
            users.push("another kvmc that runs now".to_owned());
        }
        let children = store.children(id)?.into_iter();
        for child in children.filter(|child| !gone.contains(child)) {
            users.push(format!("image {}", child.get(..12).unwrap_or(&child)));
        }
        Ok(users)
    }

    /// The clusters whose record or one of whose snapshots uses something. What cannot be read counts as using it.
    fn clusters(
        &self,
        uses: impl Fn(&ClusterRecord) -> bool,
        is_saved: impl Fn(&NodePart) -> bool,
    ) -> Vec<String> {
        let is_one = |name: &String| {
            let dir = self.state.cluster(name);
            match ClusterRecord::load(&dir) {
                Ok(record) => record.is_some_and(|r| uses(&r) || needs(&dir, &is_saved)),
                Err(_) => true,
            }
        };
        let names = self.state.cluster_names();
        names.into_iter().filter(is_one).collect()
    }
}

//! Removes images, and finds what still uses them.

use anyhow::Result;
use kvmc_images::{Image, Store};

use super::architecture;
use crate::engine::local::Local;
use crate::hint::bail_with_hint;
use crate::image;
use crate::state::ClusterRecord;

impl Local {
    /// Removes an image that no cluster and no other image uses.
    ///
    /// # Errors
    /// Fails if there is no such image, or if something uses it.
    pub(crate) fn remove_image(&self, name: &str, asked: Option<&str>) -> Result<()> {
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
        Ok(store.remove(&image.id)?)
    }

    /// Removes frozen machines, prepared images and outdated templates that no cluster uses. With `all`, also removes
    /// those that `up` would use. Returns the number of bytes freed.
    ///
    /// # Errors
    /// Fails if something cannot be read or removed.
    pub(crate) fn prune_images(&self, all: bool) -> Result<u64> {
        let (store, frozen) = (self.store(), self.frozen());
        // Frozen machines go before the image that they are made from.
        let mut images = Vec::new();
        for image in store.list()? {
            if !image::is_outdated(&store, &image)? {
                images.push(image);
            }
        }
        let current: Vec<_> = frozen
            .list()?
            .into_iter()
            .filter(|f| images.iter().any(|i| f.shape().is_current(i)))
            .map(|f| f.id)
            .collect();
        let keep = |id: &str| {
            !self.users_of_frozen(id).is_empty() || (!all && current.iter().any(|c| c == id))
        };
        let (gone, mut bytes) = frozen.prune(keep)?;
        for id in &gone {
            self.progress
                .say(&format!("removed the frozen machine {id}"));
        }
        bytes += store.sweep_pulls()?;
        bytes += self.prune_unused(
            &store,
            |image| Ok(all || image::is_outdated(&store, image)?),
        )?;
        Ok(bytes)
    }

    /// Removes unused images for which `may_go` is true. A parent follows its children once nothing else uses it.
    fn prune_unused(&self, store: &Store, may_go: impl Fn(&Image) -> Result<bool>) -> Result<u64> {
        let mut bytes = 0;
        loop {
            let mut unused = Vec::new();
            for image in store.list()? {
                if may_go(&image)? && self.users(store, &image.id)?.is_empty() {
                    unused.push(image);
                }
            }
            if unused.is_empty() {
                return Ok(bytes);
            }
            for image in unused {
                bytes += store.size(&image);
                store.remove(&image.id)?;
                let line = image::line(&image);
                self.progress.say(&format!("removed the image {line}"));
            }
        }
    }

    /// The clusters with a node whose disk lies on a frozen machine.
    pub(super) fn users_of_frozen(&self, id: &str) -> Vec<String> {
        self.clusters(|r| r.nodes.iter().any(|n| n.base.frozen() == Some(id)))
    }

    /// The clusters and images that lie on an image.
    pub(super) fn users(&self, store: &Store, id: &str) -> Result<Vec<String>> {
        let mut users: Vec<_> = self
            .clusters(|r| r.nodes.iter().any(|n| n.base.image() == id))
            .into_iter()
            .map(|name| format!("cluster {name}"))
            .collect();
        if store.is_held(id) {
            users.push("another kvmc that runs now".to_owned());
        }
        for child in store.children(id)? {
            users.push(format!("image {}", child.get(..12).unwrap_or(&child)));
        }
        Ok(users)
    }

    /// The clusters for which `uses` is true. A cluster whose record cannot be read counts as one of them.
    fn clusters(&self, uses: impl Fn(&ClusterRecord) -> bool) -> Vec<String> {
        let is_one = |name: &String| match ClusterRecord::load(&self.state.cluster(name)) {
            Ok(record) => record.is_some_and(|r| uses(&r)),
            Err(_) => true,
        };
        let names = self.state.cluster_names();
        names.into_iter().filter(is_one).collect()
    }
}

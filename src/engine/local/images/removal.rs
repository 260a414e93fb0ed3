//! What of images goes, and what keeps it.

use anyhow::{Result, bail};
use kvmc_images::{Image, Store};

use super::architecture;
use crate::engine::local::Local;
use crate::image;
use crate::state::ClusterRecord;

impl Local {
    /// Removes an image that no cluster and no other image uses.
    ///
    /// # Errors
    /// No such image, or who uses it.
    pub(crate) fn remove_image(&self, name: &str, asked: Option<&str>) -> Result<()> {
        let store = self.store();
        let image = image::in_store(&store, name, architecture(asked)?)?;
        let users = self.users(&store, &image.id)?;
        if !users.is_empty() {
            bail!(
                "image {} is used by {}; remove that first",
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

    /// Removes frozen machines, prepared images and templates that no cluster uses and no `up` would take; with `all`
    /// also those that one would. Bytes that it freed.
    ///
    /// # Errors
    /// What cannot be read or removed.
    pub(crate) fn prune_images(&self, all: bool) -> Result<u64> {
        let (store, frozen) = (self.store(), self.frozen());
        // What is frozen of an image that goes is to go before it.
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
        let keep =
            |id: &str| !self.sleepers(id).is_empty() || (!all && current.iter().any(|c| c == id));
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

    /// Removes images that nothing uses and that are `doomed`, children before the parents that then are
    /// used by nothing.
    fn prune_unused(&self, store: &Store, doomed: impl Fn(&Image) -> Result<bool>) -> Result<u64> {
        let mut bytes = 0;
        loop {
            let mut unused = Vec::new();
            for image in store.list()? {
                if doomed(&image)? && self.users(store, &image.id)?.is_empty() {
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

    /// The clusters with a node whose disk lies on a frozen machine's.
    pub(super) fn sleepers(&self, id: &str) -> Vec<String> {
        self.clusters(|r| r.nodes.iter().any(|n| n.base.frozen() == Some(id)))
    }

    /// What lies on an image: clusters, and other images.
    pub(super) fn users(&self, store: &Store, id: &str) -> Result<Vec<String>> {
        let mut users: Vec<_> = self
            .clusters(|r| r.nodes.iter().any(|n| n.base.image() == id))
            .into_iter()
            .map(|name| format!("cluster {name}"))
            .collect();
        if store.is_held(id) {
            users.push("another kvmc at this moment".to_owned());
        }
        for child in store.children(id)? {
            users.push(format!("image {}", child.get(..12).unwrap_or(&child)));
        }
        Ok(users)
    }

    /// The clusters that `uses` is true of; one whose record cannot be read may be among them.
    fn clusters(&self, uses: impl Fn(&ClusterRecord) -> bool) -> Vec<String> {
        let is_one = |name: &String| match ClusterRecord::load(&self.state.cluster(name)) {
            Ok(record) => record.is_some_and(|r| uses(&r)),
            Err(_) => true,
        };
        let names = self.state.cluster_names();
        names.into_iter().filter(is_one).collect()
    }
}

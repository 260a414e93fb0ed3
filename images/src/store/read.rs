//! Reads images from the store.

use std::path::PathBuf;

use super::folder::{DEEPEST, Store, allocated};
use crate::error::ImageError;
use crate::image::{DISK, Image, Meta};
use crate::qcow2;
use crate::recipe::Recipe;

impl Store {
    /// The image that this version of kvmc built from `recipe`.
    ///
    /// # Errors
    /// An `image.json` cannot be read.
    pub fn find(&self, recipe: &Recipe) -> Result<Option<Image>, ImageError> {
        let key = recipe.key();
        for id in self.ids()? {
            if self.meta(&id)?.key.as_ref() == Some(&key) {
                return self.get(&id).map(Some);
            }
        }
        Ok(None)
    }

    /// An image by its digest.
    ///
    /// # Errors
    /// The image is not in the store, cannot be read, or has changed.
    pub fn get(&self, id: &str) -> Result<Image, ImageError> {
        let meta = self.meta(id)?;
        let directory = self.images.join(id);
        let layers = self.layers(id, &meta)?;
        let header = qcow2::inspect(&directory.join(DISK));
        // The error of a changed file says more than an error about its header.
        let virtual_size = header
            .or_else(|e| self.check_intact(id).and(Err(e)))?
            .virtual_size;
        Ok(Image {
            id: id.to_owned(),
            name: meta.name,
            architecture: meta.architecture,
            boot: meta.boot,
            guest: meta.guest,
            origin: meta.origin,
            parent: meta.parent,
            created: meta.created,
            directory,
            layers,
            virtual_size,
            digests: meta.digests,
        })
    }

    /// The disks of an image's chain of layers, its own first.
    fn layers(&self, id: &str, meta: &Meta) -> Result<Vec<PathBuf>, ImageError> {
        let mut layers = vec![self.images.join(id).join(DISK)];
        let mut below = meta.parent.clone();
        while let Some(parent) = below {
            let path = self.images.join(&parent).join(DISK);
            // Real digests cannot form a ring, since a parent is stored before its children.
            if layers.contains(&path) || layers.len() > DEEPEST {
                return Err(ImageError::Unfit {
                    path,
                    why: format!("is its own parent, or has more than {DEEPEST} layers"),
                });
            }
            layers.push(path);
            below = self.meta(&parent)?.parent;
        }
        Ok(layers)
    }

    /// All images.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        self.ids()?.iter().map(|id| self.get(id)).collect()
    }

    /// The digests of the images whose parent is `id`.
    ///
    /// # Errors
    /// An `image.json` cannot be read.
    pub fn children(&self, id: &str) -> Result<Vec<String>, ImageError> {
        let mut children = Vec::new();
        for other in self.ids()? {
            if self.meta(&other)?.parent.as_deref() == Some(id) {
                children.push(other);
            }
        }
        Ok(children)
    }

    /// Bytes that an image takes on the host's disk, without its parents.
    #[must_use]
    pub fn size(&self, image: &Image) -> u64 {
        allocated(&image.directory)
    }
}

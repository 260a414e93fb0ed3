//! Lists the images of the store and of the catalogue.

use anyhow::Result;
use kvmc_images::{Architecture, Image, Store};

use super::architecture;
use crate::engine::local::Local;
use crate::image;
use crate::model::{CatalogueEntry, FrozenReport, ImageDetail, ImageReport};

impl Local {
    /// All images, with their frozen machines.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    pub(crate) fn images(&self) -> Result<Vec<ImageReport>> {
        let store = self.store();
        let images = store.list()?;
        images.iter().map(|i| self.report(&store, i)).collect()
    }

    /// Finds an image by its tag, its digest or the beginning of it. With `verify`, compares every byte of it.
    ///
    /// # Errors
    /// Fails if there is no such image, or if its content has changed.
    pub(crate) fn image(
        &self,
        name: &str,
        asked: Option<&str>,
        verify: bool,
    ) -> Result<ImageDetail> {
        let store = self.store();
        let image = image::in_store(&store, name, architecture(asked)?)?;
        if verify {
            store.verify(&image)?;
        }
        Ok(ImageDetail {
            image: self.report(&store, &image)?,
            directory: image.directory.display().to_string(),
            verified: verify,
        })
    }

    fn report(&self, store: &Store, image: &Image) -> Result<ImageReport> {
        let frozen = self.frozen().list()?;
        let frozen = frozen.iter().filter(|f| f.shape().image == image.id);
        Ok(ImageReport {
            id: image.id.clone(),
            name: image.name.clone(),
            tags: store.tags(&image.id),
            architecture: image.architecture,
            boot: image.boot,
            guest: image.guest,
            origin: image.origin.clone(),
            parent: image.parent.clone(),
            created: image.created,
            virtual_size: image.virtual_size,
            size: store.size(image),
            outdated: image::is_outdated(store, image)?,
            digest: format!("sha256:{}", image.digest()),
            used_by: self.users(store, &image.id)?,
            frozen: frozen
                .map(|f| FrozenReport {
                    id: f.id.clone(),
                    size: f.size(),
                    clusters: self.users_of_frozen(&f.id),
                    shape: format!("{}, disk {}", f.shape(), f.disk_size()),
                })
                .collect(),
        })
    }
}

/// The images that can be downloaded.
///
/// # Errors
/// Fails if the user's catalogue has a mistake.
pub(crate) fn catalogue() -> Result<Vec<CatalogueEntry>> {
    let catalogue = image::catalogue()?;
    Ok(catalogue
        .entries()
        .map(|(name, entry)| CatalogueEntry {
            name: name.to_owned(),
            about: entry.about.clone(),
            urls: Architecture::ALL
                .into_iter()
                .filter_map(|a| Some((a.to_string(), entry.of(a)?.url.clone())))
                .collect(),
        })
        .collect())
}

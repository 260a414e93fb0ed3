//! What is in the store, and in the catalogue.

use anyhow::Result;
use kvmc_images::{Architecture, Image, Store};

use super::architecture;
use crate::engine::local::Local;
use crate::image;
use crate::model::{CatalogueEntry, FrozenReport, ImageDetail, ImageReport};

impl Local {
    /// All images, with the machines frozen of them.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub(crate) fn images(&self) -> Result<Vec<ImageReport>> {
        let store = self.store();
        let images = store.list()?;
        images.iter().map(|i| self.report(&store, i)).collect()
    }

    /// An image by tag, digest or the beginning of one; with `verify` every byte of it is compared.
    ///
    /// # Errors
    /// No such image, or one that has changed.
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
                    clusters: self.sleepers(&f.id),
                    shape: format!("{}, disk {}", f.shape(), f.disk_size()),
                })
                .collect(),
        })
    }
}

/// The names that can be downloaded.
///
/// # Errors
/// A catalogue of the user's that is wrong.
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

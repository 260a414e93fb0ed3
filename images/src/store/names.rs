//! Names of images: tags, digests and their first digits, and pointers, which only kvmc writes.

use super::folder::Store;
use crate::architecture::Architecture;
use crate::error::ImageError;
use crate::image::{Image, META};

impl Store {
    /// Fewest digits of a digest that name an image.
    pub const SHORTEST_ID: usize = 6;

    /// The image of this name: a tag, a digest or its first 6 digits or more, or the name of a template.
    ///
    /// # Errors
    /// Several images have these first digits, or one cannot be read.
    pub fn named(
        &self,
        name: &str,
        architecture: Architecture,
    ) -> Result<Option<Image>, ImageError> {
        let ids = self.ids()?;
        if crate::tags::valid(name).is_err() {
            return Ok(None);
        }
        if let Some(id) = self.tags.get(name, architecture)
            && ids.contains(&id)
        {
            return self.get(&id).map(Some);
        }
        let mut found = Vec::new();
        for id in ids {
            let begins = name.len() >= Self::SHORTEST_ID && id.starts_with(name);
            let meta = self.meta(&id)?;
            if meta.architecture == architecture && (begins || meta.name == name) {
                found.push((meta.created, id));
            }
        }
        let by_id = found.iter().filter(|(_, id)| id.starts_with(name)).count();
        if by_id > 1 {
            return Err(ImageError::Recipe {
                what: format!("`{name}` begins the digests of {by_id} images; write more digits"),
            });
        }
        // Several versions of kvmc built it; this takes the latest.
        found.sort();
        found.last().map(|(_, id)| self.get(id)).transpose()
    }

    /// Checks that a name can be a tag.
    ///
    /// # Errors
    /// The name is not valid; the error says what is.
    pub fn check_tag(&self, name: &str) -> Result<(), ImageError> {
        crate::tags::valid(name)
    }

    /// Gives a tag to an image.
    ///
    /// # Errors
    /// The name cannot be a tag, or the tag cannot be written.
    pub fn tag(&self, image: &Image, name: &str) -> Result<(), ImageError> {
        crate::tags::valid(name)?;
        self.tags.set(name, image.architecture, &image.id)
    }

    /// The tags of an image.
    #[must_use]
    pub fn tags(&self, id: &str) -> Vec<String> {
        let all = self.tags.all().into_iter();
        all.filter(|((name, _), tagged)| tagged == id && crate::tags::valid(name).is_ok())
            .map(|((name, _), _)| name)
            .collect()
    }

    /// The image that a pointer leads to. Users cannot write such a name.
    pub(crate) fn pointed(
        &self,
        pointer: &str,
        architecture: Architecture,
    ) -> Result<Option<Image>, ImageError> {
        let id = self.tags.get(pointer, architecture);
        match id.filter(|id| self.images.join(id).join(META).exists()) {
            Some(id) => self.get(&id).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn point(&self, pointer: &str, image: &Image) -> Result<(), ImageError> {
        self.tags.set(pointer, image.architecture, &image.id)
    }
}

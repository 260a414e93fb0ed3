//! What images are called: tags, digests and the beginnings of them, and pointers that no user can give.

use super::Store;
use crate::{Architecture, Image, ImageError};

impl Store {
    /// Digits of a digest that are enough to name an image.
    pub const SHORTEST_ID: usize = 6;

    /// The image that `name` means: a tag, a digest or the beginning of one (6 digits or more), or the
    /// name of one that was built.
    ///
    /// # Errors
    /// More than one that it could mean, or one that cannot be read.
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
                what: format!("`{name}` is the beginning of {by_id} images; write more of it"),
            });
        }
        // Built twice, by different kvmc: the later one.
        found.sort();
        found.last().map(|(_, id)| self.get(id)).transpose()
    }

    /// Whether a name can stand for an image.
    ///
    /// # Errors
    /// A name that is none.
    pub fn check_tag(&self, name: &str) -> Result<(), ImageError> {
        crate::tags::valid(name)
    }

    /// Lets a name stand for an image.
    ///
    /// # Errors
    /// A name that is none, or the system's.
    pub fn tag(&self, image: &Image, name: &str) -> Result<(), ImageError> {
        crate::tags::valid(name)?;
        self.tags.set(name, image.architecture, &image.id)
    }

    /// The names that stand for an image.
    #[must_use]
    pub fn tags(&self, id: &str) -> Vec<String> {
        let all = self.tags.all().into_iter();
        all.filter(|((name, _), tagged)| tagged == id && crate::tags::valid(name).is_ok())
            .map(|((name, _), _)| name)
            .collect()
    }

    /// The image that was made of a source, by a name that no user can give.
    pub(crate) fn pointed(
        &self,
        pointer: &str,
        architecture: Architecture,
    ) -> Result<Option<Image>, ImageError> {
        let id = self.tags.get(pointer, architecture);
        match id.filter(|id| self.images.join(id).join("image.json").exists()) {
            Some(id) => self.get(&id).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn point(&self, pointer: &str, image: &Image) -> Result<(), ImageError> {
        self.tags.set(pointer, image.architecture, &image.id)
    }
}

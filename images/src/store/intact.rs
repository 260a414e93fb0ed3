//! Whether images are still what came into the store.

use super::{DEEPEST, Store, digest};
use crate::intact::Looks;
use crate::{Image, ImageError};

/// In an image's folder: what its files were when all of them were last read.
const LOOKS: &str = ".looks.json";

impl Store {
    /// Reads every byte of an image again.
    ///
    /// # Errors
    /// The file that is not what was built.
    pub fn verify(&self, image: &Image) -> Result<(), ImageError> {
        for (name, expected) in &image.digests {
            let path = image.directory.join(name);
            let found = digest(&path)?;
            if &found != expected {
                return Err(ImageError::Changed {
                    path,
                    expected: expected.clone(),
                    found,
                });
            }
        }
        Ok(())
    }

    /// Makes sure that an image and all that it lies on are what was stored. What nobody has touched
    /// since it was last read is not read again.
    ///
    /// # Errors
    /// [`ImageError::Changed`] with the first file that is not.
    pub fn check_intact(&self, id: &str) -> Result<(), ImageError> {
        let mut next = Some(id.to_owned());
        for _ in 0..DEEPEST {
            let Some(id) = next else { break };
            let meta = self.meta(&id)?;
            let directory = self.images.join(&id);
            let mut looks = Looks::open(&directory.join(LOOKS));
            for (name, expected) in &meta.digests {
                looks.check(&directory.join(name), expected, digest)?;
            }
            looks.keep();
            next = meta.parent;
        }
        Ok(())
    }
}

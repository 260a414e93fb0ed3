//! Checks that images are still what was stored.

use super::folder::{DEEPEST, Store};
use crate::digest;
use crate::error::ImageError;
use crate::image::Image;
use crate::intact::FileChecks;

/// In an image's folder: the fingerprints that its files had when all of them were last read.
const CHECKS: &str = ".looks.json";

impl Store {
    /// Reads every byte of an image again.
    ///
    /// # Errors
    /// [`ImageError::Changed`] with the first file that differs.
    pub fn verify(&self, image: &Image) -> Result<(), ImageError> {
        for (name, expected) in &image.digests {
            let path = image.directory.join(name);
            let found = digest::sha256(&path)?;
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

    /// Checks that an image and its parents are what was stored. A file that was not touched since it was last
    /// read is not read again.
    ///
    /// # Errors
    /// [`ImageError::Changed`] with the first file that differs.
    pub fn check_intact(&self, id: &str) -> Result<(), ImageError> {
        let mut next = Some(id.to_owned());
        for _ in 0..DEEPEST {
            let Some(id) = next else { break };
            let meta = self.meta(&id)?;
            let directory = self.images.join(&id);
            let mut checks = FileChecks::open(&directory.join(CHECKS));
            for (name, expected) in &meta.digests {
                checks.check(&directory.join(name), expected, digest::sha256)?;
            }
            checks.save();
            next = meta.parent;
        }
        Ok(())
    }
}

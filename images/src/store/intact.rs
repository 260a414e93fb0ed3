//! Checks that images have not changed since they were stored.

use super::folder::{DEEPEST, Store};
use crate::digest;
use crate::error::ImageError;
use crate::image::Image;
use crate::intact::FileChecks;

/// The file in an image's folder with the fingerprints of its files at their last full read.
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

    /// Checks that an image and its parents have not changed since they were stored. Does not read a file again that
    /// nobody touched since its last read.
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

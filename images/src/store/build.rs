//! Builds templates into the store.

use super::folder::{BUILD, Store};
use crate::build;
use crate::error::ImageError;
use crate::failpoint::failpoint;
use crate::image::{Image, Meta};
use crate::recipe::Recipe;

impl Store {
    /// The image of a recipe, built if it is missing. When two kvmc build at once, the second waits and takes
    /// the first one's image.
    ///
    /// # Errors
    /// A program failed, or the user interrupted the build. No partial image stays.
    pub fn build(&self, recipe: &Recipe, say: &mut dyn FnMut(&str)) -> Result<Image, ImageError> {
        fs_err::create_dir_all(&self.images)?;
        let _held = self.lock(true)?;
        self.sweep_held();
        if let Some(image) = self.find(recipe)? {
            return Ok(image);
        }
        let work = tempfile::Builder::new()
            .prefix(BUILD)
            .tempdir_in(&self.images)
            .map_err(ImageError::io(format!(
                "make a folder in {}",
                self.images.display()
            )))?;
        failpoint!("image.folder");
        build::build(recipe, work.path(), say)?;
        self.admit(work, Meta::built(recipe))
    }
}

//! What goes from the store and what is held back from it: images, and what others have left half-made.

use std::fs::File;

use nix::fcntl::{Flock, FlockArg};

use super::{BUILD, Store, allocated};
use crate::ImageError;

/// An image that is not removed meanwhile, see [`Store::hold`].
#[derive(Debug)]
pub struct Held {
    _folder: Flock<File>,
}

impl Store {
    /// Keeps an image from being removed for as long as the answer lives: for who is about to write down
    /// that it is used.
    ///
    /// # Errors
    /// That it is gone, or being removed.
    pub fn hold(&self, id: &str) -> Result<Held, ImageError> {
        let path = self.images.join(id);
        let folder = fs_err::File::open(&path)?.into_parts().0;
        let held = Flock::lock(folder, FlockArg::LockSharedNonblock);
        match held {
            Ok(held) if path.join("image.json").exists() => Ok(Held { _folder: held }),
            _ => Err(ImageError::Unfit {
                path,
                why: "is being removed; run it again for a new one".to_owned(),
            }),
        }
    }

    /// Whether somebody [holds](Self::hold) it.
    #[must_use]
    pub fn is_held(&self, id: &str) -> bool {
        let folder = File::open(self.images.join(id));
        folder.is_ok_and(|f| Flock::lock(f, FlockArg::LockExclusiveNonblock).is_err())
    }

    /// Removes an image; one that is not there is done.
    ///
    /// # Errors
    /// That somebody [holds](Self::hold) it, or the system's.
    pub fn remove(&self, id: &str) -> Result<(), ImageError> {
        let path = self.images.join(id);
        let Ok(folder) = File::open(&path) else {
            self.tags.forget(id);
            return Ok(());
        };
        let _alone = Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|_| {
            ImageError::Unfit {
                path,
                why: "is used by another kvmc at this moment; try again when it is done".to_owned(),
            }
        })?;
        self.tags.forget(id);
        // Half removed it would be in the way of every look at the store.
        let going = self.images.join(format!("{BUILD}gone-{id}"));
        match fs_err::rename(self.images.join(id), &going) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e.into()),
            Ok(()) => Ok(fs_err::remove_dir_all(&going)?),
        }
    }

    /// Removes all images and the store's folder.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_all(&self) -> Result<(), ImageError> {
        match fs_err::remove_dir_all(&self.images) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Takes away what builders that are gone have left, unless one is at it.
    pub fn sweep(&self) {
        if self.images.exists()
            && let Ok(_held) = self.lock(false)
        {
            self.sweep_held();
        }
    }

    pub(super) fn sweep_held(&self) {
        for entry in std::fs::read_dir(&self.images)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(BUILD) {
                let _next_time = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Takes away what downloads that were cut have left, and that nobody is at; returns the bytes.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn sweep_pulls(&self) -> Result<u64, ImageError> {
        let dir = self.images.join("pulls");
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return Ok(0);
        };
        let mut locks = Vec::new();
        for path in entries.flatten().map(|e| e.path()) {
            if path.extension().is_some_and(|e| e == "lock") {
                let file = fs_err::File::open(&path)?.into_parts().0;
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(lock) => locks.push(lock),
                    Err(_) => return Ok(0),
                }
            }
        }
        let bytes = allocated(&dir);
        fs_err::remove_dir_all(&dir)?;
        Ok(bytes)
    }
}

//! Removes images, unless they are held, and the remains of interrupted builds and downloads.

use std::fs::File;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use super::folder::{BUILD, Store, allocated};
use crate::error::ImageError;
use crate::image::META;

/// Protects an image from removal, see [`Store::hold`].
#[derive(Debug)]
pub struct ImageHold {
    _folder: Flock<File>,
}

/// The folder of downloads, and the locks that keep other processes out of it.
type IdlePulls = (PathBuf, Vec<Flock<File>>);

impl Store {
    /// Protects an image from removal until the result is dropped. By then a record must say that the image is used.
    ///
    /// # Errors
    /// The image is gone, or is being removed.
    pub fn hold(&self, id: &str) -> Result<ImageHold, ImageError> {
        let path = self.images.join(id);
        let folder = fs_err::File::open(&path)?.into_parts().0;
        let held = Flock::lock(folder, FlockArg::LockSharedNonblock);
        match held {
            Ok(held) if path.join(META).exists() => Ok(ImageHold { _folder: held }),
            _ => Err(ImageError::Unfit {
                path,
                why: "is being removed by another kvmc; run the command again".to_owned(),
            }),
        }
    }

    /// Whether a process [holds](Self::hold) it.
    #[must_use]
    pub fn is_held(&self, id: &str) -> bool {
        let folder = File::open(self.images.join(id));
        folder.is_ok_and(|f| Flock::lock(f, FlockArg::LockExclusiveNonblock).is_err())
    }

    /// Removes an image, if it is there.
    ///
    /// # Errors
    /// A process [holds](Self::hold) it, or its folder cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), ImageError> {
        let path = self.images.join(id);
        let Ok(folder) = File::open(&path) else {
            self.tags.forget(id);
            return Ok(());
        };
        let _alone = Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|_| {
            ImageError::Unfit {
                path,
                why: "is being used by another kvmc; try again when that is done".to_owned(),
            }
        })?;
        self.tags.forget(id);
        // Renamed first, since a partly removed image would make every listing of the store fail.
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
    /// The folder cannot be removed.
    pub fn remove_all(&self) -> Result<(), ImageError> {
        match fs_err::remove_dir_all(&self.images) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Removes the remains of interrupted builds, unless a build is under way.
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

    /// Removes the remains of interrupted downloads, unless a download is under way. Returns the freed bytes.
    ///
    /// # Errors
    /// The folder cannot be read or removed.
    pub fn sweep_pulls(&self) -> Result<u64, ImageError> {
        let Some((dir, _locks)) = self.idle_pulls()? else {
            return Ok(0);
        };
        let bytes = allocated(&dir);
        fs_err::remove_dir_all(&dir)?;
        Ok(bytes)
    }

    /// Bytes that [`Self::sweep_pulls`] would free.
    #[must_use]
    pub fn cut_off_pulls(&self) -> u64 {
        match self.idle_pulls() {
            Ok(Some((dir, _locks))) => allocated(&dir),
            _ => 0,
        }
    }

    /// The folder of downloads with its locks, unless a download is under way or there is none.
    fn idle_pulls(&self) -> Result<Option<IdlePulls>, ImageError> {
        let dir = self.images.join("pulls");
        let Ok(entries) = std::fs::read_dir(&dir) else {
            return Ok(None);
        };
        let mut locks = Vec::new();
        for path in entries.flatten().map(|e| e.path()) {
            if path.extension().is_some_and(|e| e == "lock") {
                let file = fs_err::File::open(&path)?.into_parts().0;
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(lock) => locks.push(lock),
                    Err(_) => return Ok(None),
                }
            }
        }
        Ok(Some((dir, locks)))
    }
}

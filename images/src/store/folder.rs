//! The store's folder: its layout and its lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::ImageError;
use crate::exec;
use crate::image::{META, Meta};
use crate::tags::Tags;

/// Hex digits of a digest that name an image.
pub(super) const ID_LENGTH: usize = 32;
/// The prefix of folders that are not yet images, or no longer.
pub(super) const BUILD: &str = ".build-";
/// Longest chain of layers.
pub(super) const DEEPEST: usize = 32;
/// The time between two attempts to take the lock.
const RETRY: Duration = Duration::from_millis(50);

/// A folder of images.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) images: PathBuf,
    pub(super) tags: Tags,
}

impl Store {
    /// The store below a state folder, which need not exist yet.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let images = root.join("images");
        Self {
            tags: Tags::open(&images),
            images,
        }
    }

    /// The digests of all images, sorted.
    pub(super) fn ids(&self) -> Result<Vec<String>, ImageError> {
        let entries = match fs_err::read_dir(&self.images) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut ids: Vec<_> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|name| name.len() == ID_LENGTH && name.bytes().all(|b| b.is_ascii_hexdigit()))
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// An image's `image.json`.
    pub(super) fn meta(&self, id: &str) -> Result<Meta, ImageError> {
        let path = self.images.join(id).join(META);
        let bytes = fs_err::read(&path)?;
        Meta::parse(&path, &bytes)
    }

    /// Takes the store's lock, which one build at a time holds. Waits for it if `may_wait`.
    pub(super) fn lock(&self, may_wait: bool) -> Result<Flock<File>, ImageError> {
        let mut file = File::create(self.images.join("lock"))
            .map_err(ImageError::io("open the store's lock"))?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(held),
                Err((_, e)) if e != Errno::EWOULDBLOCK => {
                    return Err(ImageError::io("lock the store")(e.into()));
                }
                Err((again, _)) => file = again,
            }
            if !may_wait || exec::is_told_to_stop() {
                return Err(ImageError::Interrupted);
            }
            std::thread::sleep(RETRY);
        }
    }
}

/// Bytes that a folder takes on its disk.
#[must_use]
pub fn allocated(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => allocated(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

//! Images by their content.

mod admit;
mod intact;
mod names;
mod removal;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::failpoint::failpoint;
use crate::image::{DISK, Meta};
use crate::tags::Tags;
use crate::{Image, ImageError, Recipe, build, exec, qcow2};

pub use removal::Held;

/// Hex digits of a digest that stand for the image.
const ID_LENGTH: usize = 32;
const BUILD: &str = ".build-";
/// Layers that an image can have.
const DEEPEST: usize = 32;

/// A folder of images.
#[derive(Debug, Clone)]
pub struct Store {
    images: PathBuf,
    tags: Tags,
}

impl Store {
    /// The store below a state folder, which need not be there yet.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let images = root.join("images");
        Self {
            tags: Tags::open(&images),
            images,
        }
    }

    /// The image built from `recipe` by this version of kvmc.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn find(&self, recipe: &Recipe) -> Result<Option<Image>, ImageError> {
        let key = recipe.key();
        for id in self.ids()? {
            if self.meta(&id)?.key.as_ref() == Some(&key) {
                return self.get(&id).map(Some);
            }
        }
        Ok(None)
    }

    /// An image by its digest.
    ///
    /// # Errors
    /// That it is not there or cannot be read.
    pub fn get(&self, id: &str) -> Result<Image, ImageError> {
        let meta = self.meta(id)?;
        let directory = self.images.join(id);
        let layers = self.layers(id, &meta)?;
        let header = qcow2::inspect(&directory.join(DISK));
        // What was changed says more of it than what is wrong with it now.
        let virtual_size = header
            .or_else(|e| self.check_intact(id).and(Err(e)))?
            .virtual_size;
        Ok(Image {
            id: id.to_owned(),
            name: meta.name,
            architecture: meta.architecture,
            boot: meta.boot,
            guest: meta.guest,
            origin: meta.origin,
            parent: meta.parent,
            created: meta.created,
            directory,
            layers,
            virtual_size,
            digests: meta.digests,
        })
    }

    /// The disks that an image is made of, its own first.
    fn layers(&self, id: &str, meta: &Meta) -> Result<Vec<PathBuf>, ImageError> {
        let mut layers = vec![self.images.join(id).join(DISK)];
        let mut below = meta.parent.clone();
        while let Some(parent) = below {
            let path = self.images.join(&parent).join(DISK);
            // Parents are there before their children, so no chain of true digests is a ring.
            if layers.contains(&path) || layers.len() > DEEPEST {
                return Err(ImageError::Unfit {
                    path,
                    why: format!("is below itself, or more than {DEEPEST} deep"),
                });
            }
            layers.push(path);
            below = self.meta(&parent)?.parent;
        }
        Ok(layers)
    }

    /// All images.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        self.ids()?.iter().map(|id| self.get(id)).collect()
    }

    /// The image of a recipe, built if it is not there. Of two that build at once the second waits
    /// and takes the first one's.
    ///
    /// # Errors
    /// The program that failed, or that it was told to stop; nothing half-made is left.
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

    /// The images that lie on one.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn children(&self, id: &str) -> Result<Vec<String>, ImageError> {
        let mut children = Vec::new();
        for other in self.ids()? {
            if self.meta(&other)?.parent.as_deref() == Some(id) {
                children.push(other);
            }
        }
        Ok(children)
    }

    /// Bytes that an image takes on the host's disk, without those below it.
    #[must_use]
    pub fn size(&self, image: &Image) -> u64 {
        allocated(&image.directory)
    }

    /// Takes the store's lock; waits for it if it may.
    fn lock(&self, may_wait: bool) -> Result<Flock<File>, ImageError> {
        let mut file = File::create(self.images.join("lock"))
            .map_err(ImageError::io("open the store's lock"))?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(held),
                Err((_, e)) if e != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(ImageError::Io {
                        what: "lock the store".to_owned(),
                        source: e.into(),
                    });
                }
                Err((again, _)) => file = again,
            }
            if !may_wait || exec::is_told_to_stop() {
                return Err(ImageError::Interrupted);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn ids(&self) -> Result<Vec<String>, ImageError> {
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

    fn meta(&self, id: &str) -> Result<Meta, ImageError> {
        let path = self.images.join(id).join("image.json");
        let bytes = fs_err::read(&path)?;
        Meta::parse(&path, &bytes)
    }
}

/// Bytes that a folder takes on its disk.
fn allocated(dir: &Path) -> u64 {
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

fn digest(path: &Path) -> Result<String, ImageError> {
    let mut file = fs_err::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

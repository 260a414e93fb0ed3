//! Images by their content.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ImageError, Recipe, build, qcow2};

/// The files whose digests make an image's name.
const FILES: [&str; 3] = ["disk.qcow2", "vmlinuz", "initrd"];
/// Hex digits of a digest that stand for the image.
const ID_LENGTH: usize = 32;
const BUILD: &str = ".build-";

/// A folder of images.
#[derive(Debug, Clone)]
pub struct Store {
    images: PathBuf,
}

/// A template.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of its content.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What it was built from.
    pub recipe: Recipe,
    /// Its folder.
    pub directory: PathBuf,
    /// The root disk, qcow2.
    pub disk: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd.
    pub initrd: PathBuf,
    /// Size of its disk as a guest sees it, in bytes.
    pub virtual_size: u64,
    digests: Vec<String>,
}

/// `image.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    format: u32,
    key: String,
    recipe: Recipe,
    digests: Vec<String>,
}

impl Store {
    /// The store below a state folder, which need not be there yet.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        Self {
            images: root.join("images"),
        }
    }

    /// The image built from `recipe` by this version of kvmc.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn find(&self, recipe: &Recipe) -> Result<Option<Image>, ImageError> {
        let key = recipe.key();
        for id in self.ids()? {
            if self.meta(&id)?.key == key {
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
        let [disk, kernel, initrd] = FILES.map(|name| directory.join(name));
        let virtual_size = qcow2::inspect(&disk)?.virtual_size;
        let name = meta.recipe.name();
        Ok(Image {
            id: id.to_owned(),
            name,
            recipe: meta.recipe,
            directory,
            disk,
            kernel,
            initrd,
            virtual_size,
            digests: meta.digests,
        })
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
    /// The program that failed; nothing half-made is left.
    pub fn build(&self, recipe: &Recipe, say: &mut dyn FnMut(&str)) -> Result<Image, ImageError> {
        fs_err::create_dir_all(&self.images)?;
        let lock = File::create(self.images.join("lock"))
            .map_err(ImageError::io("open the store's lock"))?;
        let _held =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| ImageError::Io {
                what: "lock the store".to_owned(),
                source: e.into(),
            })?;
        self.sweep();
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
        build::build(recipe, work.path(), say)?;
        let digests = FILES
            .iter()
            .map(|name| digest(&work.path().join(name)))
            .collect::<Result<Vec<_>, _>>()?;
        let all = hex(&Sha256::digest(digests.join(" ")));
        let id = all.get(..ID_LENGTH).unwrap_or(&all).to_owned();
        let meta = Meta {
            format: 1,
            key: recipe.key(),
            recipe: recipe.clone(),
            digests,
        };
        let text = serde_json::to_vec_pretty(&meta).unwrap_or_default();
        fs_err::write(work.path().join("image.json"), text)?;
        File::open(work.path().join("image.json"))?.sync_all()?;
        std::fs::set_permissions(
            work.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        fs_err::rename(work.keep(), self.images.join(&id))?;
        File::open(&self.images)?.sync_all()?;
        self.get(&id)
    }

    /// Reads every byte of an image again.
    ///
    /// # Errors
    /// The file that is not what was built.
    pub fn verify(&self, image: &Image) -> Result<(), ImageError> {
        for (name, expected) in FILES.iter().zip(&image.digests) {
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

    /// Removes an image; one that is not there is done.
    ///
    /// # Errors
    /// The system's.
    pub fn remove(&self, id: &str) -> Result<(), ImageError> {
        match fs_err::remove_dir_all(self.images.join(id)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
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

    /// Takes away what builders that are gone have left; called with the lock held, so none is at it.
    fn sweep(&self) {
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
        serde_json::from_slice(&bytes).map_err(|e| ImageError::Unfit {
            path,
            why: format!("is damaged: {e}"),
        })
    }
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

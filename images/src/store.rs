//! Images by their content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::failpoint::failpoint;
use crate::image::{DISK, Meta};
use crate::intact::Looks;
use crate::tags::Tags;
use crate::{Architecture, Image, ImageError, Recipe, build, exec, qcow2};

/// Hex digits of a digest that stand for the image.
const ID_LENGTH: usize = 32;
const BUILD: &str = ".build-";
/// In an image's folder: what its files were when all of them were last read.
const LOOKS: &str = ".looks.json";
/// Digits of a digest that are enough to name an image.
const SHORTEST_ID: usize = 6;
/// Layers that an image can have.
const DEEPEST: usize = 32;

/// A folder of images.
#[derive(Debug, Clone)]
pub struct Store {
    images: PathBuf,
    tags: Tags,
}

/// An image that is not removed meanwhile, see [`Store::hold`].
#[derive(Debug)]
pub struct Held {
    _folder: Flock<File>,
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
            let begins = name.len() >= SHORTEST_ID && id.starts_with(name);
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

    /// The folder of downloads under way, on the store's file system and outside of what is in it.
    pub(crate) fn pulls(&self) -> Result<PathBuf, ImageError> {
        let dir = self.images.join("pulls");
        fs_err::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A folder to make an image in; while the lock is held nobody sweeps it away.
    pub(crate) fn workplace(&self) -> Result<(tempfile::TempDir, Flock<File>), ImageError> {
        let pulls = self.pulls()?;
        let path = pulls.join("make.lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(ImageError::io(format!("open {}", path.display())))?;
        let lock = Flock::lock(file, FlockArg::LockShared)
            .map_err(|(_, e)| ImageError::io(format!("lock {}", path.display()))(e.into()))?;
        let dir = tempfile::Builder::new()
            .prefix("make-")
            .tempdir_in(&pulls)
            .map_err(ImageError::io(format!(
                "make a folder in {}",
                pulls.display()
            )))?;
        Ok((dir, lock))
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

    /// Makes a folder with an image's files an image of the store, under its digest; one that is there
    /// already is taken instead.
    pub(crate) fn admit(&self, work: tempfile::TempDir, meta: Meta) -> Result<Image, ImageError> {
        self.admit_as(work, meta, None)
    }

    /// As [`Self::admit`], of an image whose digest and whose files' digests are known.
    ///
    /// # Errors
    /// The file that has another.
    pub(crate) fn admit_as(
        &self,
        work: tempfile::TempDir,
        mut meta: Meta,
        known: Option<(&str, &BTreeMap<String, String>)>,
    ) -> Result<Image, ImageError> {
        let differs = |name: &str, expected: &str, found: &str| {
            Err(ImageError::Changed {
                path: work.path().join(name),
                expected: expected.to_owned(),
                found: found.to_owned(),
            })
        };
        let files = Meta::files(meta.boot);
        let mut all = Vec::new();
        for name in files {
            let path = work.path().join(name);
            let digest = digest(&path)?;
            if let Some((_, digests)) = known
                && digests.get(*name) != Some(&digest)
            {
                let expected = digests.get(*name).map_or("", String::as_str);
                return differs(name, expected, &digest);
            }
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
            File::open(&path)?.sync_all()?;
            all.push(digest.clone());
            meta.digests.insert((*name).to_owned(), digest);
        }
        all.extend(meta.parent.clone());
        let all = hex(&Sha256::digest(all.join(" ")));
        let id = all.get(..ID_LENGTH).unwrap_or(&all).to_owned();
        if let Some((expected, _)) = known
            && expected != id
        {
            return differs("image.json", expected, &id);
        }
        let text = serde_json::to_vec_pretty(&meta).unwrap_or_default();
        fs_err::write(work.path().join("image.json"), text)?;
        File::open(work.path().join("image.json"))?.sync_all()?;
        std::fs::set_permissions(
            work.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        failpoint!("image.meta");
        let to = self.images.join(&id);
        if to.exists() {
            return self.get(&id);
        }
        fs_err::rename(work.keep(), &to)?;
        File::open(&self.images)?.sync_all()?;
        failpoint!("image.done");
        self.get(&id)
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

    fn sweep_held(&self) {
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

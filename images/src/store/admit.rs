//! Stores a folder of files as an image under its digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::folder::{ID_LENGTH, Store};
use crate::digest::{self, hex};
use crate::error::ImageError;
use crate::failpoint::failpoint;
use crate::image::Image;
use crate::image::{META, Meta};

impl Store {
    /// The folder of downloads under way, on the store's file system.
    pub(crate) fn pulls(&self) -> Result<PathBuf, ImageError> {
        let dir = self.images.join("pulls");
        fs_err::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A folder to make an image in, with a lock that protects it from [`Store::sweep`].
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

    /// Stores a folder of files as an image under its digest. Returns an existing image with that digest instead.
    pub(crate) fn admit(&self, work: tempfile::TempDir, meta: Meta) -> Result<Image, ImageError> {
        self.admit_as(work, meta, None)
    }

    /// As [`Self::admit`], for an image with known digests, its own and its files'.
    ///
    /// # Errors
    /// [`ImageError::Changed`] with the first file that has another digest.
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
            let digest = digest::sha256(&path)?;
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
            return differs(META, expected, &id);
        }
        let text = serde_json::to_vec_pretty(&meta).unwrap_or_default();
        fs_err::write(work.path().join(META), text)?;
        File::open(work.path().join(META))?.sync_all()?;
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
}

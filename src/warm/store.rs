//! The store of frozen machines.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_images::{FileChecks, Image};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::ids::{Ids, Places};
use super::memory::{Memory, allocated, size};
use super::shape::Shape;
use crate::failpoint::failpoint;
use crate::spec::Bytes;
use crate::state::{NodeRecord, private_dir, read_json, replace_json};

const FREEZING: &str = ".freeze-";
const LOCK: &str = ".lock";
/// The metadata of the disk when it was last read completely.
const LOOKS: &str = ".looks.json";
pub(super) const META: &str = "frozen.json";
/// The metadata file is renamed to this when the content has changed, so that no node wakes from it.
const DAMAGED: &str = "damaged.json";

/// The folder of frozen machines.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: PathBuf,
}

/// A frozen machine on disk.
#[derive(Debug, Clone)]
pub(crate) struct Frozen {
    /// The name of its folder.
    pub(crate) id: String,
    dir: PathBuf,
    meta: Meta,
}

/// The content of `frozen.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) shape: Shape,
    /// Size of the disk in bytes, as the guest sees it and its file system fills it.
    disk_size: Bytes,
    /// Digests, BLAKE3.
    pub(super) ram: String,
    pub(super) state: String,
    pub(super) disk: String,
    /// Where its memory holds its ids; what an earlier version froze tells nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<Places>,
}

/// An unfinished freeze. Dropping it removes its folder.
#[derive(Debug)]
pub(crate) struct Draft {
    dir: tempfile::TempDir,
    shape: Shape,
    store: Store,
    _lock: Flock<File>,
}

impl Store {
    /// The store below a state folder. The folder may be missing.
    pub(crate) fn open(root: &Path) -> Self {
        Self {
            dir: root.join("warm"),
        }
    }

    /// The frozen machine of a shape with the largest disk up to `disk`, because a disk can only grow. Its content is
    /// not checked yet.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub(crate) fn find(&self, shape: &Shape, disk: Bytes) -> Result<Option<Frozen>> {
        let fits = |f: &Frozen| f.meta.shape == *shape && f.meta.disk_size <= disk;
        let all = self.list()?.into_iter().filter(fits);
        Ok(all.max_by_key(|f| f.meta.disk_size))
    }

    /// All frozen machines that nodes can wake from.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub(crate) fn list(&self) -> Result<Vec<Frozen>> {
        let mut found = Vec::new();
        for id in self.ids()? {
            let dir = self.dir.join(&id);
            // A damaged machine, or one from an older kvmc, counts as missing.
            if let Ok(Some(meta)) = read_json(&dir.join(META)) {
                found.push(Frozen { id, dir, meta });
            }
        }
        Ok(found)
    }

    /// The disk of a frozen machine, on which nodes' disks lie.
    pub(crate) fn disk(&self, id: &str) -> PathBuf {
        self.dir.join(id).join("disk.qcow2")
    }

    /// Checks that the disk of a frozen machine is unchanged.
    ///
    /// # Errors
    /// Fails with both digests if the disk has changed, or if its metadata is missing.
    pub(crate) fn check_disk(&self, id: &str) -> Result<()> {
        let dir = self.dir.join(id);
        let meta = self.meta(id)?;
        let disk = self.disk(id);
        let meta = meta.with_context(|| format!("{} is missing", disk.display()))?;
        let mut checks = FileChecks::open(&dir.join(LOOKS));
        checks.check(&disk, &meta.disk, digest)?;
        checks.save();
        Ok(())
    }

    /// The metadata of a frozen machine, even if it is damaged.
    pub(super) fn meta(&self, id: &str) -> Result<Option<Meta>> {
        let dir = self.dir.join(id);
        match read_json(&dir.join(META))? {
            Some(meta) => Ok(Some(meta)),
            None => read_json(&dir.join(DAMAGED)),
        }
    }

    /// Writes a clone's ids into its memory over those of the frozen machine. The guest must not run yet.
    ///
    /// # Errors
    /// Fails if the memory cannot be found or written.
    pub(crate) fn give_ids(&self, id: &str, pid: i32, ids: &Ids) -> Result<()> {
        let places = self.meta(id)?.and_then(|meta| meta.ids);
        places.map_or(Ok(()), |places| places.give(pid, ids))
    }

    /// The backing files of a node's disk, the nearest first.
    pub(crate) fn backing(&self, node: &NodeRecord, image: &Image) -> Vec<PathBuf> {
        let frozen = node.base.frozen().map(|id| self.disk(id));
        frozen.into_iter().chain(image.layers.clone()).collect()
    }

    /// The device state that a node wakes to.
    pub(crate) fn state(&self, id: &str) -> PathBuf {
        self.dir.join(id).join("state")
    }

    /// Begins a freeze. Waits while another process freezes the same shape.
    ///
    /// # Errors
    /// Fails if a file or folder cannot be made.
    pub(super) async fn draft(&self, shape: &Shape) -> Result<Draft> {
        let (dir, lock) = self.workshop(&shape.key()).await?;
        Ok(Draft {
            dir,
            shape: shape.clone(),
            store: self.clone(),
            _lock: lock,
        })
    }

    /// A folder to run a machine in, for one process at a time and purpose. Waits while another process uses it.
    ///
    /// # Errors
    /// Fails if a file or folder cannot be made.
    pub(super) async fn workshop(&self, key: &str) -> Result<(tempfile::TempDir, Flock<File>)> {
        private_dir(&self.dir)?;
        let path = self.dir.join(format!("{key}{LOCK}"));
        let lock = loop {
            let file = fs_err::File::create(&path)?.into_parts().0;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((_, Errno::EWOULDBLOCK)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err((_, e)) => return Err(e).context(format!("cannot lock {}", path.display())),
            }
        };
        // The lock is held, so a killed process has left these folders.
        for entry in fs_err::read_dir(&self.dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{FREEZING}{key}")) {
                fs_err::remove_dir_all(entry.path())?;
            }
        }
        let dir = tempfile::Builder::new()
            .prefix(&format!("{FREEZING}{key}-"))
            .rand_bytes(4)
            .tempdir_in(&self.dir)
            .context("cannot make a folder to freeze in")?;
        Ok((dir, lock))
    }

    /// Removes the remains of killed freezes, and the machines that `keep` refuses. Returns the names of the removed
    /// machines, and the bytes freed.
    ///
    /// # Errors
    /// Fails if a folder cannot be read or removed.
    pub(crate) fn prune(&self, keep: impl Fn(&str) -> bool) -> Result<(Vec<String>, u64)> {
        let mut gone = Vec::new();
        let mut bytes = 0;
        self.sweep()?;
        for id in self.ids()? {
            if !keep(&id) {
                let dir = self.dir.join(&id);
                bytes += size(&dir);
                fs_err::remove_dir_all(&dir)?;
                gone.push(id);
            }
        }
        Ok((gone, bytes))
    }

    /// All frozen machines, also damaged ones, with the bytes that each takes on the host's disk.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub(crate) fn sizes(&self) -> Result<Vec<(String, u64)>> {
        let ids = self.ids()?.into_iter();
        Ok(ids
            .map(|id| (id.clone(), size(&self.dir.join(id))))
            .collect())
    }

    /// Removes all frozen machines and the folder.
    ///
    /// # Errors
    /// Fails if the folder cannot be removed.
    pub(crate) fn remove_all(&self) -> Result<()> {
        match fs_err::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Removes the remains of killed freezes.
    ///
    /// # Errors
    /// Fails if a folder cannot be read or removed.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in self.names()? {
            let Some(key) = name.strip_suffix(LOCK) else {
                continue;
            };
            let path = self.dir.join(&name);
            let file = fs_err::File::open(&path)?.into_parts().0;
            let Ok(_lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                continue;
            };
            for left in self.names()? {
                if left.starts_with(&format!("{FREEZING}{key}")) {
                    fs_err::remove_dir_all(self.dir.join(left))?;
                }
            }
        }
        Ok(())
    }

    /// Names of the folders that hold, or held, a frozen machine.
    fn ids(&self) -> Result<BTreeSet<String>> {
        Ok(self
            .names()?
            .into_iter()
            .filter(|n| !n.starts_with('.') && self.dir.join(n).is_dir())
            .collect())
    }

    fn names(&self) -> Result<BTreeSet<String>> {
        let entries = match fs_err::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(e) => return Err(e.into()),
        };
        Ok(entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect())
    }
}

impl Draft {
    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the draft a read-only frozen machine, and syncs it to disk.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub(super) fn finish(self, memory: &Memory, disk_size: Bytes, ids: Ids) -> Result<Frozen> {
        let path = self.dir.path();
        let ram = memory.save(&path.join("ram"))?;
        failpoint!("freeze.ram");
        let meta = Meta {
            shape: self.shape,
            disk_size,
            ram,
            state: digest(&path.join("state"))?,
            disk: digest(&path.join("disk.qcow2"))?,
            ids: Some(Places::find(memory, ids)?),
        };
        for entry in fs_err::read_dir(path)?.flatten() {
            let name = entry.file_name();
            if !["ram", "state", "disk.qcow2"].iter().any(|f| name == *f) {
                fs_err::remove_file(entry.path())?;
                continue;
            }
            fs_err::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o444))?;
            fs_err::File::open(entry.path())?.sync_all()?;
        }
        replace_json(&path.join(META), &meta, 0o444)?;
        failpoint!("freeze.meta");
        let key = meta.shape.key();
        let taken = self.store.ids()?;
        let id = (1..)
            .map(|n: u32| format!("{key}-{n}"))
            .find(|id| !taken.contains(id))
            .context("no name is free for the frozen machine")?;
        let dir = self.store.dir.join(&id);
        fs_err::rename(self.dir.keep(), &dir)?;
        fs_err::File::open(&self.store.dir)?.sync_all()?;
        failpoint!("freeze.done");
        Ok(Frozen { id, dir, meta })
    }
}

impl Frozen {
    pub(crate) fn shape(&self) -> &Shape {
        &self.meta.shape
    }

    pub(crate) fn disk_size(&self) -> Bytes {
        self.meta.disk_size
    }

    /// Bytes of its memory that are not zero.
    pub(crate) fn memory_size(&self) -> u64 {
        allocated(&self.dir.join("ram"))
    }

    /// Bytes that it takes on the host's disk.
    pub(crate) fn size(&self) -> u64 {
        size(&self.dir)
    }

    /// Loads its memory, after comparing every byte of the memory, the state and the disk with the digests.
    ///
    /// # Errors
    /// Fails with the file that has changed. No node wakes from this machine any more then.
    pub(crate) fn load(&self) -> Result<Memory> {
        let checked = || -> Result<Memory> {
            for (name, expected) in [("state", &self.meta.state), ("disk.qcow2", &self.meta.disk)] {
                let path = self.dir.join(name);
                if digest(&path)? != *expected {
                    bail!("{} has changed since it was frozen", path.display());
                }
            }
            let path = self.dir.join("ram");
            let (memory, found) = Memory::load(&path, self.meta.shape.ram.0)?;
            if found != self.meta.ram {
                bail!("{} has changed since it was frozen", path.display());
            }
            Ok(memory)
        };
        let result = checked();
        if result.is_err() {
            // A node may use the disk, so the folder stays until `image prune`.
            let _unwritable = std::fs::rename(self.dir.join(META), self.dir.join(DAMAGED));
        }
        result
    }
}

pub(super) fn digest(path: &Path) -> Result<String> {
    let mut hash = blake3::Hasher::new();
    hash.update_reader(fs_err::File::open(path)?)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hash.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_frozen() {
        kvmc_fuzz::run("frozen", |bytes| {
            if let Ok(meta) = serde_json::from_slice::<Meta>(bytes) {
                let _any_name = meta.shape.key();
            }
            crate::fuzz::round_trip::<Meta>(bytes)
        });
    }
}

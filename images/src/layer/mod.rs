//! Images that lie on another: made of a node's disk, without what was the node's own.

mod difference;
mod ext;
mod free;
mod identity;
mod partition;

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::image::{DISK, FORMAT, Meta, now};
use crate::{Guest, Image, ImageError, Origin, Store, exec};

/// What a layer is made of.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The disk of a machine that does not run, then all that it lies on, the nearest first; qcow2.
    pub disks: Vec<PathBuf>,
    /// The image that it was cloned from.
    pub parent: &'a Image,
    /// The new image's name, for people.
    pub name: String,
    /// Where it is from.
    pub origin: Origin,
    /// What takes an identity in it.
    pub guest: Guest,
}

/// The name that a layer's disk has for its parent's: one that holds in every store.
pub(crate) fn backing_name(parent: &str) -> PathBuf {
    Path::new("..").join(parent).join(DISK)
}

impl Store {
    /// Makes an image of a disk: its identity removed, its free blocks left out, and of the rest what
    /// its parent does not have.
    ///
    /// # Errors
    /// A file system that was not unmounted, or that is none that an identity can be taken out of; a
    /// program's words, or the system's. Nothing is left then.
    pub fn commit(
        &self,
        commit: &Commit<'_>,
        say: &mut dyn FnMut(&str),
    ) -> Result<Image, ImageError> {
        let (folder, _lock) = self.workplace()?;
        let [new, old] = ["new.raw", "old.raw"].map(|name| folder.path().join(name));
        say("reading the disk");
        flatten(&commit.disks, &new)?;
        flatten(&commit.parent.layers, &old)?;
        say("taking the identity out of it");
        let root = ext::Ext::root_of(&new)?;
        identity::take_out(&root, folder.path())?;
        say("writing what differs from its parent");
        let free = root.free()?;
        difference::write(
            &folder.path().join(DISK),
            &backing_name(&commit.parent.id),
            [&File::open(&new)?, &File::open(&old)?],
            &free,
        )?;
        for path in [&new, &old] {
            fs_err::remove_file(path)?;
        }
        for name in Meta::files(commit.parent.boot)
            .iter()
            .filter(|n| **n != DISK)
        {
            fs_err::copy(commit.parent.directory.join(name), folder.path().join(name))?;
        }
        let meta = Meta {
            format: FORMAT,
            name: commit.name.clone(),
            key: None,
            architecture: commit.parent.architecture,
            boot: commit.parent.boot,
            guest: commit.guest,
            origin: commit.origin.clone(),
            parent: Some(commit.parent.id.clone()),
            created: now(),
            digests: std::collections::BTreeMap::new(),
        };
        self.admit(folder, meta)
    }
}

/// A chain of qcow2 as one raw file with holes. Which file lies on which is said here: their heads are
/// written by whoever was in the machine.
fn flatten(disks: &[PathBuf], to: &Path) -> Result<(), ImageError> {
    let chain = disks
        .iter()
        .rev()
        .fold(serde_json::Value::Null, |below, disk| {
            serde_json::json!({
                "driver": "qcow2",
                "file": { "driver": "file", "filename": disk },
                "backing": below,
            })
        });
    let arguments = [
        "convert",
        "-O",
        "raw",
        "-S",
        "4k",
        &format!("json:{chain}"),
        &to.display().to_string(),
    ];
    exec::run("qemu-img", &arguments.map(str::to_owned))
}

#[cfg(test)]
mod tests;

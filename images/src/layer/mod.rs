//! Layers: images made from a node's disk, on a parent, without the node's identity.

mod difference;
mod ext;
mod free;
mod identity;
pub(crate) mod partition;

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::confine::{Job, Task};
use crate::error::ImageError;
use crate::image::{DISK, FORMAT, Meta, now};
use crate::image::{Guest, Image, Origin};
use crate::store::Store;

/// The input for a new layer.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The disk of a stopped machine, then its backing files, the nearest first; qcow2.
    pub disks: Vec<PathBuf>,
    /// The image that the machine was cloned from.
    pub parent: &'a Image,
    /// The new image's name.
    pub name: String,
    /// Its origin.
    pub origin: Origin,
    /// The program that takes the identity in it.
    pub guest: Guest,
}

/// The backing file's name in a layer's disk. It is relative, so that it is valid in every store.
pub(crate) fn backing_name(parent: &str) -> PathBuf {
    Path::new("..").join(parent).join(DISK)
}

impl Store {
    /// Makes an image from a disk: without its identity and its free blocks, only the difference to its parent.
    ///
    /// # Errors
    /// The file system was not unmounted, is of an unsupported kind, or cannot be changed. No partial image stays.
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
        say("removing its identity");
        let root = ext::Ext::root_of(&new)?;
        identity::remove(&root, folder.path())?;
        say("writing the difference to its parent");
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

/// A chain of qcow2, the writable image first, as qemu-img takes it. kvmc names the backing files itself, since users of the
/// machine may have changed the headers.
fn chained(disks: &[PathBuf]) -> String {
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
    format!("json:{chain}")
}

/// Checks the header of each image of a chain, and returns the size of the first one's disk.
fn checked(chain: &[PathBuf]) -> Result<u64, ImageError> {
    let mut size = 0;
    for (image, number) in chain.iter().zip(0..) {
        let header = crate::qcow2::inspect_whole(image)?;
        if number == 0 {
            size = header.virtual_size;
        }
        if chain.iter().skip(number + 1).any(|below| below == image) {
            return Err(ImageError::Unfit {
                path: image.clone(),
                why: "is its own backing file".to_owned(),
            });
        }
    }
    Ok(size)
}

/// Reads a chain of qcow2 into one raw file with holes.
fn flatten(disks: &[PathBuf], to: &Path) -> Result<(), ImageError> {
    let Some(first) = disks.first() else {
        return Ok(());
    };
    let size = checked(disks)?;
    let arguments = [
        "convert",
        "-O",
        "raw",
        "-S",
        "4k",
        &chained(disks),
        &to.display().to_string(),
    ];
    let job = Job {
        task: Task::Flatten,
        arguments: arguments.map(str::to_owned).to_vec(),
        reads: disks.iter().map(PathBuf::as_path).collect(),
        writes: vec![to],
        about: first,
        disk: size,
    };
    job.run()
}

/// Writes what the first image of a chain holds into the second. Nobody else uses them. If this is ended early, the chain's
/// content is the same as before.
///
/// # Errors
/// An image has an impossible header, or cannot be read or written.
pub fn merge_first(chain: &[PathBuf]) -> Result<(), ImageError> {
    let size = checked(chain)?;
    let [first, second, ..] = chain else {
        return Ok(());
    };
    let arguments = ["commit", "-q", "-d", &chained(chain)];
    let job = Job {
        task: Task::Merge,
        arguments: arguments.map(str::to_owned).to_vec(),
        reads: chain.iter().map(PathBuf::as_path).collect(),
        // qemu-img opens the first one for writing, too.
        writes: vec![first, second],
        about: first,
        disk: size,
    };
    job.run()
}

#[cfg(test)]
mod tests;

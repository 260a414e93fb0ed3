//! The disks of a node: the one on its image, and the extra ones.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kvmc_images::qcow2;

use super::cmdline::{TOP_DISK, extra_disk};
use super::holder::check_unused;
use crate::failpoint::failpoint;
use crate::spec::Bytes;
use crate::state::{NodeDir, NodeRecord, private_dir, remove_file};

/// The size of the extra disks of a frozen machine. A woken node is told the size of its own.
pub(crate) const FROZEN_EXTRA: Bytes = Bytes::mib(1);

/// Makes a node's disk on `backing` and its extra disks if it has none, and returns whether it did. The disk comes last,
/// so its existence shows that all exist. With `asleep`, the node's first start
/// will be a waking.
///
/// # Errors
/// Fails if the size is below that of the backing file, or if a file cannot be written.
pub(crate) fn clone_disk(
    node: &NodeRecord,
    dir: &NodeDir,
    backing: &Path,
    asleep: bool,
) -> Result<bool> {
    private_dir(dir.path())?;
    let disk = dir.disk();
    if disk.exists() {
        return Ok(false);
    }
    for (number, size) in (1..).zip(&node.disks) {
        let path = dir.extra_disk(number);
        // Without the node's disk, a killed verb has left it, perhaps half written.
        remove_file(&path)?;
        let size = if asleep {
            FROZEN_EXTRA.min(*size)
        } else {
            *size
        };
        qcow2::create_empty(&path, size.0)
            .with_context(|| format!("an extra disk of {} cannot be made", node.name))?;
        failpoint!("up.disk.extra");
    }
    // A woken guest has seen a disk of its frozen machine's size. It is told the new size when it runs.
    let size = if asleep {
        qcow2::inspect(backing)?.virtual_size
    } else {
        node.disk.0
    };
    qcow2::create_overlay(&disk, backing, size)
        .with_context(|| format!("the disk of {} cannot be made", node.name))?;
    if asleep {
        fs_err::write(dir.asleep(), "")?;
    }
    Ok(true)
}

/// The disks that must grow to the sizes that the node was given, as block nodes of QEMU with these sizes. A node that
/// wakes has disks of its frozen machine's sizes until then.
///
/// # Errors
/// Fails if a disk cannot be read.
pub(crate) fn grown(node: &NodeRecord, dir: &NodeDir) -> Result<Vec<(String, u64)>> {
    let own = (TOP_DISK.to_owned(), dir.top_image(node, 0), node.disk);
    let extra = (1..).zip(&node.disks);
    let extra =
        extra.map(|(number, size)| (extra_disk(number), dir.top_image(node, number), *size));
    let mut grown = Vec::new();
    for (name, path, size) in std::iter::once(own).chain(extra) {
        if qcow2::inspect(&path)?.virtual_size < size.0 {
            grown.push((name, size.0));
        }
    }
    Ok(grown)
}

/// Opens a disk: its own images, the writable one first, and then its backing files.
///
/// # Errors
/// Fails if a file cannot be opened, or if another QEMU uses the disk.
pub(crate) fn disks(own: &[PathBuf], backing: &[PathBuf]) -> Result<Vec<File>> {
    let Some((top, below)) = own.split_first() else {
        return Ok(Vec::new());
    };
    let mut disks = vec![unused(top)?];
    for path in below.iter().chain(backing) {
        disks.push(read_only(path)?);
    }
    Ok(disks)
}

/// Opens a node's extra disks, each with its own images, the writable one first.
///
/// # Errors
/// Fails if one cannot be opened, or if another QEMU uses it.
pub(super) fn extra_disks(node: &NodeRecord, dir: &NodeDir) -> Result<Vec<Vec<File>>> {
    let numbers = 1..=node.disks.len();
    numbers
        .map(|n| disks(&dir.images_of(node, n), &[]))
        .collect()
}

/// Makes empty extra disks for a machine to freeze, in its own folder, and opens them.
///
/// # Errors
/// Fails if one cannot be made.
pub(crate) fn frozen_extra_disks(count: usize, dir: &Path) -> Result<Vec<Vec<File>>> {
    let numbers = 1..=count;
    numbers
        .map(|n| {
            let path = dir.join(format!("extra{n}.qcow2"));
            qcow2::create_empty(&path, FROZEN_EXTRA.0)
                .context("an extra disk of a machine to freeze cannot be made")?;
            Ok(vec![unused(&path)?])
        })
        .collect()
}

fn unused(path: &Path) -> Result<File> {
    let file = read_write(path)?;
    check_unused(&file, path)?;
    Ok(file)
}

pub(super) fn read_write(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

pub(super) fn read_only(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record_of_file;
    use crate::state::State;

    #[test]
    fn extra_disks_are_made_before_the_disk_and_grow_when_the_node_wakes() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join("base.qcow2");
        qcow2::create_empty(&base, 1 << 30).unwrap();
        let record = record_of_file("disks = [\"20G\", \"64M\"]\n");
        let node = record.node("master0").unwrap();
        let dir = State::at(root.path()).cluster("k80").node("master0");
        // A killed verb has left half of one.
        private_dir(dir.path()).unwrap();
        std::fs::write(dir.extra_disk(1), "QFI").unwrap();
        assert!(clone_disk(node, &dir, &base, true).unwrap());
        assert!(!clone_disk(node, &dir, &base, true).unwrap());
        let size = |path: &Path| qcow2::inspect(path).unwrap().virtual_size;
        assert_eq!(size(&dir.extra_disk(1)), FROZEN_EXTRA.0);
        let grown = grown(node, &dir).unwrap();
        assert_eq!(
            grown,
            [
                ("disk0".to_owned(), 4 << 30),
                ("extra1".to_owned(), 20 << 30),
                ("extra2".to_owned(), 64 << 20)
            ]
        );
        assert_eq!(extra_disks(node, &dir).unwrap().len(), 2);
        let cold = State::at(root.path()).cluster("k80").node("master1");
        let node = record.node("master1").unwrap();
        clone_disk(node, &cold, &base, false).unwrap();
        assert!(super::grown(node, &cold).unwrap().is_empty());
    }
}

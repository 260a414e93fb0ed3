//! The chain of images that is a node's disk, as far as the images are the node's own.
//!
//! A snapshot keeps the images that a disk had, and gives the node a new writable one above them. No image is ever
//! renamed, so the record alone says which images are a disk.

use std::path::PathBuf;

use super::{NodeDir, NodeRecord};

impl NodeRecord {
    /// The number of its disks, the main one included.
    pub(crate) fn disk_count(&self) -> usize {
        1 + self.disks.len()
    }

    /// The file names of the own images of a disk, the writable one first. The main disk has the number 0.
    pub(crate) fn chain(&self, disk: usize) -> Vec<String> {
        match self.chains.get(disk) {
            Some(chain) if !chain.is_empty() => chain.clone(),
            _ => vec![first_image(disk)],
        }
    }

    /// The chains of all its disks.
    pub(crate) fn all_chains(&self) -> Vec<Vec<String>> {
        (0..self.disk_count())
            .map(|disk| self.chain(disk))
            .collect()
    }

    /// The depth of its deepest chain.
    pub(crate) fn depth(&self) -> usize {
        let chains = self.all_chains();
        chains.iter().map(Vec::len).max().unwrap_or_default()
    }
}

impl NodeDir {
    /// The own images of a node's disk, the writable one first.
    pub(crate) fn images_of(&self, node: &NodeRecord, disk: usize) -> Vec<PathBuf> {
        let chain = node.chain(disk);
        chain.iter().map(|name| self.image(name)).collect()
    }

    /// The writable image of a node's disk.
    pub(crate) fn top_image(&self, node: &NodeRecord, disk: usize) -> PathBuf {
        let chain = node.chain(disk);
        let first = chain.first().cloned();
        self.image(&first.unwrap_or_else(|| first_image(disk)))
    }

    /// An own image, by its file name.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// The file name of a disk's lowest own image, which exists as long as the node.
fn first_image(disk: usize) -> String {
    format!("{}.qcow2", stem(disk))
}

/// The file name of a further image of a disk.
pub(crate) fn next_image(disk: usize, number: u32) -> String {
    format!("{}.{number}.qcow2", stem(disk))
}

/// The disk and the number of a further image, by its file name.
pub(crate) fn number_of(name: &str) -> Option<(usize, u32)> {
    let (disk, number) = name.strip_suffix(".qcow2")?.split_once('.')?;
    let disk = match disk.strip_prefix("extra") {
        Some(number) => number.parse().ok().filter(|n| *n > 0)?,
        None => (disk == "disk").then_some(0)?,
    };
    Some((disk, number.parse().ok()?))
}

fn stem(disk: usize) -> String {
    match disk {
        0 => "disk".to_owned(),
        number => format!("extra{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record_of_file;

    #[test]
    fn a_disk_without_snapshots_is_one_image_and_others_are_what_the_record_says() {
        let record = record_of_file("disks = [\"1G\"]\n");
        let mut node = record.node("master0").unwrap().clone();
        assert_eq!(node.all_chains(), [["disk.qcow2"], ["extra1.qcow2"]]);
        assert_eq!(node.depth(), 1);
        node.chains = vec![vec![next_image(0, 2), "disk.qcow2".to_owned()]];
        assert_eq!(node.chain(0), ["disk.2.qcow2", "disk.qcow2"]);
        assert_eq!(node.chain(1), ["extra1.qcow2"]);
        assert_eq!(node.depth(), 2);
    }

    #[test]
    fn the_number_of_an_image_is_in_its_name() {
        assert_eq!(number_of(&next_image(0, 7)), Some((0, 7)));
        assert_eq!(number_of(&next_image(3, 12)), Some((3, 12)));
        for other in [
            "disk.qcow2",
            "extra1.qcow2",
            "disk.x.qcow2",
            "disk.1",
            "seed.img",
            "extra0.1.qcow2",
            "other.1.qcow2",
            "extra.1.qcow2",
        ] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}

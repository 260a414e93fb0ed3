//! What a snapshot is and what it fits.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::stored::Stored;

/// The format that this version writes, and the only one that it reads.
pub(crate) const FORMAT: u32 = 1;
/// The longest name, in characters. A file's name with it and an ending is far below `NAME_MAX`.
const LONGEST_NAME: usize = 64;
/// The longest note, in bytes.
pub(crate) const LONGEST_NOTE: usize = 1024;

/// The name of a snapshot, which is a folder's name too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = (1..=LONGEST_NAME).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is not the name of a snapshot; expected 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, -, _ and ., beginning with a letter or digit",
                text.escape_debug()
            ))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A snapshot of a whole cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// [`FORMAT`]
    pub(crate) format: u32,
    pub(crate) name: Name,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
    /// The snapshot that the cluster went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Name>,
    /// When all nodes stood still, in seconds since 1970.
    pub(crate) time: f64,
    /// The version of kvmc that made it.
    pub(crate) kvmc: String,
    /// By the nodes' names.
    pub(crate) nodes: BTreeMap<String, NodePart>,
}

/// A node of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodePart {
    pub(crate) fits: Fits,
    /// Bytes of memory that the guest has.
    pub(crate) ram: u64,
    /// The migration stream with its memory and devices.
    pub(crate) stream: Stored,
    /// The frozen machine that its memory lies on; none if it booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frozen: Option<String>,
    /// The own images of each of its disks, as file names in the node's folder, the nearest first.
    #[serde(default)]
    pub(crate) chains: Vec<Vec<String>>,
}

/// Digests, or other texts that differ where the things do, of all that a node's stream needs to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fits {
    pub(crate) qemu: String,
    /// The kernel and initrd that QEMU boots; empty where the disk has them.
    pub(crate) kernel: String,
    pub(crate) image: String,
    /// Devices, memory and processors.
    pub(crate) shape: String,
}

/// Why a snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("snapshot `{name}` has format {format}; this version of kvmc reads format {FORMAT}")]
    Format { name: Name, format: u32 },
    #[error("snapshot `{name}` has node `{node}`, which the cluster does not have")]
    Missing { name: Name, node: String },
    #[error("the cluster has node `{node}`, which snapshot `{name}` does not have")]
    Added { name: Name, node: String },
    #[error(
        "snapshot `{name}` needs another {what} for node `{node}`: expected `{expected}`; found `{found}`"
    )]
    Changed {
        name: Name,
        node: String,
        what: &'static str,
        expected: String,
        found: String,
    },
}

impl Manifest {
    /// Checks that the cluster has the snapshot's nodes, and that all that their streams need is as it was.
    ///
    /// # Errors
    /// Fails with the first difference.
    pub(crate) fn check(&self, present: &BTreeMap<String, Fits>) -> Result<(), Misfit> {
        let name = self.name.clone();
        if self.format != FORMAT {
            let format = self.format;
            return Err(Misfit::Format { name, format });
        }
        for (node, part) in &self.nodes {
            let node = node.clone();
            let Some(found) = present.get(&node) else {
                return Err(Misfit::Missing { name, node });
            };
            if let Some((what, expected, found)) = part.fits.difference(found) {
                return Err(Misfit::Changed {
                    name,
                    node,
                    what,
                    expected: expected.to_owned(),
                    found: found.to_owned(),
                });
            }
        }
        match present.keys().find(|node| !self.nodes.contains_key(*node)) {
            Some(node) => Err(Misfit::Added {
                name,
                node: node.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Bytes that the streams have.
    pub(crate) fn size(&self) -> u64 {
        let sizes = self.nodes.values().map(|part| part.stream.size);
        sizes.fold(0, u64::saturating_add)
    }
}

impl Fits {
    /// What differs first, what was, and what is there.
    fn difference<'a>(&'a self, found: &'a Self) -> Option<(&'static str, &'a str, &'a str)> {
        [
            ("QEMU", &self.qemu, &found.qemu),
            ("kernel", &self.kernel, &found.kernel),
            ("image", &self.image, &found.image),
            ("machine", &self.shape, &found.shape),
        ]
        .into_iter()
        .find(|(_, expected, found)| expected != found)
        .map(|(what, expected, found)| (what, expected.as_str(), found.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits() -> Fits {
        Fits {
            qemu: "q1".to_owned(),
            kernel: "k1".to_owned(),
            image: "i1".to_owned(),
            shape: "s1".to_owned(),
        }
    }

    fn manifest() -> Manifest {
        let part = NodePart {
            fits: fits(),
            ram: 512 << 20,
            stream: Stored {
                size: 7,
                digest: "d".to_owned(),
            },
            frozen: None,
            chains: vec![vec!["disk.qcow2".to_owned()]],
        };
        let nodes = ["master0", "worker0"].map(|n| (n.to_owned(), part.clone()));
        Manifest {
            format: FORMAT,
            name: "before".parse().unwrap(),
            note: String::new(),
            parent: Some("first".parse().unwrap()),
            time: 1_700_000_000.5,
            kvmc: "0.1.0".to_owned(),
            nodes: nodes.into_iter().collect(),
        }
    }

    fn present() -> BTreeMap<String, Fits> {
        let nodes = ["master0", "worker0"].map(|n| (n.to_owned(), fits()));
        nodes.into_iter().collect()
    }

    #[test]
    fn a_name_is_safe_as_a_files_name() {
        let longest = "a".repeat(LONGEST_NAME);
        for good in ["a", "0", "2026-11-29T10.11", "Before_upgrade", &longest] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let too_long = "a".repeat(LONGEST_NAME + 1);
        for bad in [
            "", ".", "..", "-a", "_a", "a/b", "../a", "a\0", "a b", "ä", "a\n", &too_long,
        ] {
            let error = bad.parse::<Name>().unwrap_err();
            assert!(error.contains("expected 1 to 64"), "{error}");
        }
        serde_json::from_str::<Name>("\"../a\"").unwrap_err();
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let text = serde_json::to_string(&manifest()).unwrap();
        let read: Manifest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, manifest());
        assert_eq!(read.size(), 14);
    }

    #[test]
    fn a_difference_is_named_with_what_was_and_what_is() {
        type Change = fn(&mut Fits);
        let manifest = manifest();
        assert_eq!(manifest.check(&present()), Ok(()));
        let changed = |change: Change| {
            let mut present = present();
            change(present.get_mut("worker0").unwrap());
            manifest.check(&present).unwrap_err().to_string()
        };
        let parts: [(Change, &str); 4] = [
            (|f| f.qemu = "q2".to_owned(), "QEMU"),
            (|f| f.kernel = "k2".to_owned(), "kernel"),
            (|f| f.image = "i2".to_owned(), "image"),
            (|f| f.shape = "s2".to_owned(), "machine"),
        ];
        for ((change, what), letter) in parts.into_iter().zip(["q", "k", "i", "s"]) {
            assert_eq!(
                changed(change),
                format!(
                    "snapshot `before` needs another {what} for node `worker0`: expected `{letter}1`; found `{letter}2`"
                )
            );
        }
    }

    #[test]
    fn a_cluster_of_other_nodes_or_another_format_does_not_fit() {
        let mut fewer = present();
        fewer.remove("worker0");
        assert_eq!(
            manifest().check(&fewer).unwrap_err().to_string(),
            "snapshot `before` has node `worker0`, which the cluster does not have"
        );
        let mut more = present();
        more.insert("worker1".to_owned(), fits());
        assert_eq!(
            manifest().check(&more).unwrap_err().to_string(),
            "the cluster has node `worker1`, which snapshot `before` does not have"
        );
        let mut newer = manifest();
        newer.format = FORMAT + 1;
        assert_eq!(
            newer.check(&present()).unwrap_err().to_string(),
            "snapshot `before` has format 2; this version of kvmc reads format 1"
        );
    }
}

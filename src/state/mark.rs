//! Marks on host objects: the cluster's name and its state folder. They identify an object without the record.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ClusterDir, NodeDir, State};

/// First word of a mark.
const PREFIX: &str = "kvmc";
/// An nft comment holds 128 bytes, a link's alias 255.
const LONGEST: usize = 70;

impl State {
    /// The state folder in a mark: its path if it is plain and short, else a digest of it.
    fn word(&self) -> String {
        word(self.root())
    }

    /// The state folder in a process's name, as eight hex digits.
    pub(crate) fn tag(&self) -> String {
        digest(self.root(), 4)
    }

    /// The cluster of this state folder that a mark names.
    pub(crate) fn marked<'a>(&self, mark: &'a str) -> Option<&'a str> {
        let mark = mark.strip_prefix(PREFIX)?.strip_prefix(':')?;
        let (cluster, word) = mark.split_once(':')?;
        (word == self.word()).then_some(cluster)
    }
}

impl ClusterDir {
    pub(crate) fn name(&self) -> String {
        let name = self.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The state folder, the folder of all clusters, and this one's.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        let all: Vec<_> = self.path().ancestors().take(3).collect();
        all.into_iter().rev()
    }

    /// The mark of this cluster's links and rules.
    pub(crate) fn mark(&self) -> String {
        let root = self.path().ancestors().nth(2).unwrap_or(Path::new("/"));
        format!("{PREFIX}:{}:{}", self.name(), word(root))
    }

    /// The name of the cluster's scope in systemd.
    pub(crate) fn scope(&self) -> String {
        let root = self.path().ancestors().nth(2).unwrap_or(Path::new("/"));
        format!("{PREFIX}-{}-{}.scope", self.name(), digest(root, 4))
    }
}

impl NodeDir {
    /// The name of the node's scope in systemd.
    pub(crate) fn scope(&self) -> String {
        let ancestors: Vec<_> = self.path().ancestors().take(5).collect();
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let (node, cluster) = (ancestors.first(), ancestors.get(2));
        let [node, cluster] = [node, cluster].map(|p| p.map(|p| name(p)).unwrap_or_default());
        format!("{PREFIX}-{cluster}-{}-{node}.scope", self.tag())
    }

    /// See [`State::tag`].
    pub(crate) fn tag(&self) -> String {
        let root = self.path().ancestors().nth(4).unwrap_or(Path::new("/"));
        digest(root, 4)
    }
}

fn word(root: &Path) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+".contains(&b);
    let bytes = root.as_os_str().as_encoded_bytes();
    if bytes.len() <= LONGEST && bytes.iter().copied().all(plain) {
        root.display().to_string()
    } else {
        format!("#{}", digest(root, 8))
    }
}

fn digest(path: &Path, bytes: usize) -> String {
    let path = PathBuf::from(path);
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    crate::ids::hex(digest.get(..bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(root: &str) -> State {
        State::locate(|n| (n == "KVMC_STATE_DIR").then(|| root.to_owned()), true).unwrap()
    }

    #[test]
    fn a_mark_is_valid_in_its_own_state_folder_only() {
        let mine = state("/var/lib/kvmc");
        let mark = mine.cluster("k80").mark();
        assert_eq!(mark, "kvmc:k80:/var/lib/kvmc");
        let scope = mine.cluster("k80").scope();
        assert_eq!(scope, format!("kvmc-k80-{}.scope", mine.tag()));
        assert_eq!(mine.marked(&mark), Some("k80"));
        assert_eq!(state("/var/lib").marked(&mark), None);
        for foreign in ["", "kvmc", "kvmc:", "kvmc:k80", "eth0 uplink"] {
            assert_eq!(mine.marked(foreign), None);
        }
    }

    #[test]
    fn a_folder_too_long_for_a_comment_is_marked_by_a_digest() {
        for root in [format!("/{}", "d".repeat(200)), "/a \"b\"\n;".to_owned()] {
            let state = state(&root);
            let mark = state.cluster("k80").mark();
            assert!(
                mark.len() < 128 && !mark.contains(['"', ' ', '\n']),
                "{mark}"
            );
            assert_eq!(state.marked(&mark), Some("k80"));
        }
    }

    #[test]
    fn a_node_knows_its_state_folder() {
        let state = state("/s");
        let node = state.cluster("k80").node("master0");
        assert_eq!(node.tag(), state.tag());
        assert_eq!(
            node.scope(),
            format!("kvmc-k80-{}-master0.scope", state.tag())
        );
    }
}

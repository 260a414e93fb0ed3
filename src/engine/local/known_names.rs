//! Names for the completion of command lines. What cannot be read has no names, and no error.

use std::collections::BTreeSet;

use super::Local;
use super::snapshot::snapshot_names;
use crate::state::Found;

impl Local {
    /// The names of the cluster's nodes. A user who may not read the cluster, or has none and types `sudo`, still has
    /// the project folder's `ssh_config`.
    pub(crate) fn node_names(&self) -> Vec<String> {
        let found = Found::look(&self.dir());
        let is_of_root = match &found {
            Found::NotOurs(_) => true,
            _ => self.state.cluster_names().is_empty(),
        };
        match found.record() {
            Some(record) => record.nodes.into_iter().map(|n| n.name).collect(),
            None if is_of_root => {
                let text = std::fs::read_to_string("ssh_config").unwrap_or_default();
                hosts(&text).into_iter().collect()
            }
            None => Vec::new(),
        }
    }

    /// The names of the state folder's clusters.
    pub(crate) fn folder_names(&self) -> Vec<String> {
        self.state.cluster_names()
    }

    /// The names of the cluster's snapshots.
    pub(crate) fn snapshot_names(&self) -> Vec<String> {
        snapshot_names(&self.dir())
    }

    /// The tags of images, and the digests of those without.
    pub(crate) fn image_names(&self) -> Vec<String> {
        let store = self.store();
        let images = store.list().unwrap_or_default();
        let names = images.iter().flat_map(|image| {
            let tags = store.tags(&image.id);
            if tags.is_empty() {
                vec![image.id.clone()]
            } else {
                tags
            }
        });
        names.collect()
    }
}

/// The names in an `ssh_config` that kvmc wrote: `Host master0`.
fn hosts(ssh_config: &str) -> BTreeSet<String> {
    let lines = ssh_config.lines().filter_map(|l| l.strip_prefix("Host "));
    let names = lines.flat_map(str::split_whitespace);
    names
        .filter(|name| !name.contains(['*', '?', '!']))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_by_the_ssh_config() {
        let text =
            "# kvmc\nHost master0 m.k80\n  HostName 192.168.80.2\nHost master0\n  User a\nHost *\n";
        assert_eq!(hosts(text), ["m.k80", "master0"].map(str::to_owned).into());
    }
}

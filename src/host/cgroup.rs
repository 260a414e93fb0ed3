//! Finds the memory cgroup of a process, in either version, cgroups(7).

use std::path::{Path, PathBuf};

/// The mount point of both versions.
pub(super) const ROOT: &str = "/sys/fs/cgroup";

/// The version of the file layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A process's cgroup in a hierarchy that may account memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) version: Version,
    /// The mounted hierarchy.
    pub(super) root: PathBuf,
    /// The process's own group.
    pub(super) group: PathBuf,
}

/// The groups that `/proc/PID/cgroup` names, with the hierarchies mounted below `root`.
pub(super) fn places(groups: &str, root: &Path) -> Vec<Place> {
    let place = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (version, root) = if controllers.is_empty() {
            (Version::V2, root.to_owned())
        } else if controllers.split(',').any(|c| c == "memory") {
            (Version::V1, root.join("memory"))
        } else {
            return None;
        };
        let below = path.trim_start_matches('/');
        // An empty path would end in a slash.
        let group = match below {
            "" => root.clone(),
            below => root.join(below),
        };
        Some(Place {
            version,
            root,
            group,
        })
    };
    groups.lines().filter_map(place).collect()
}

impl Place {
    /// The group and its parents, up to the hierarchy's root. In a container without a cgroup namespace the group's
    /// own path is missing, and its limits are in the root.
    pub(super) fn around(&self) -> impl Iterator<Item = &Path> {
        let below = |p: &&Path| p.starts_with(&self.root);
        let all = self.group.ancestors().take_while(below);
        all.filter(|p| p.is_dir())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_place_in_each_hierarchy_that_accounts_memory() {
        let groups = "junk\n9:name=systemd:/x\n4:cpu,memory:/a/b\n1:cpu:/c\n0::/d:e\n0::/\n";
        let places = places(groups, Path::new("/r"));
        let group = |p: &Place| p.group.display().to_string();
        assert_eq!(
            places.iter().map(group).collect::<Vec<_>>(),
            ["/r/memory/a/b", "/r/d:e", "/r"]
        );
        assert_eq!(places[0].version, Version::V1);
        assert_eq!(places[1].version, Version::V2);
    }
}

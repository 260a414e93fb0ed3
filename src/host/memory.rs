//! Checks whether memory suffices: the host's available memory and the limits of our cgroups against what the nodes
//! take.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::TB_SIZE;
use super::cgroup::{Place, ROOT, Version, places};
use super::check::{Check, Finding};
use super::scope::groups_of_nodes;
use crate::spec::approximate;

/// Memory that a verb needs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// RAM of the nodes to start, in bytes.
    pub(crate) ram: u64,
    /// Bytes of it that nodes share, because they wake from the same frozen machine.
    pub(crate) shared: u64,
    pub(crate) nodes: u64,
    pub(crate) emulated: bool,
    pub(crate) overcommit: bool,
}

/// Memory of QEMU in addition to its guest's, in bytes: its heap and devices, measured.
pub(crate) const QEMU_OVERHEAD: u64 = 48 << 20;

/// Memory that is available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Available {
    pub(crate) bytes: u64,
    /// The cgroup that limits it, if that is less than the host has.
    within: Option<PathBuf>,
}

impl Available {
    /// The memory that nodes may take now.
    ///
    /// # Errors
    /// Fails if /proc/meminfo cannot be read.
    pub(crate) fn now() -> Result<Self> {
        let host = meminfo(&fs_err::read_to_string("/proc/meminfo")?, "MemAvailable");
        let places = places(&groups_of_nodes(), Path::new(ROOT));
        Ok(available(host.unwrap_or(u64::MAX), &places))
    }
}

impl std::fmt::Display for Available {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is available", approximate(self.bytes))?;
        match &self.within {
            Some(group) => write!(f, " in the cgroup {}", group.display()),
            None => Ok(()),
        }
    }
}

/// Checks whether the memory suffices.
///
/// # Errors
/// Fails if /proc/meminfo cannot be read.
pub(super) fn check(wanted: Memory) -> Result<Check> {
    Ok(judge(wanted, &Available::now()?))
}

/// The least of the host's memory and of what each cgroup leaves.
fn available(host: u64, places: &[Place]) -> Available {
    let mut least = Available {
        bytes: host,
        within: None,
    };
    for place in places {
        for group in place.around() {
            if let Some(bytes) = left(group, place.version).filter(|b| *b < least.bytes) {
                least = Available {
                    bytes,
                    within: Some(group.to_owned()),
                };
            }
        }
    }
    least
}

/// What a cgroup's limit leaves. Page cache counts as free, as in `MemAvailable`: Linux's
/// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
fn left(group: &Path, version: Version) -> Option<u64> {
    let (limits, used, cache): (&[&str], _, [&str; 2]) = match version {
        Version::V1 => (
            &["memory.limit_in_bytes"],
            "memory.usage_in_bytes",
            ["total_inactive_file ", "total_active_file "],
        ),
        // Above `high` the kernel slows a group down until nothing in it makes progress.
        Version::V2 => (
            &["memory.max", "memory.high"],
            "memory.current",
            ["inactive_file ", "active_file "],
        ),
    };
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit = limits.iter().filter_map(|name| number(name)).min()?;
    let stat = read("memory.stat").unwrap_or_default();
    let of_stat = |key: &str| {
        let value = stat.lines().find_map(|l| l.strip_prefix(key));
        value.and_then(|v| v.trim().parse::<u64>().ok())
    };
    let cache: u64 = cache.iter().filter_map(|key| of_stat(key)).sum();
    let used = number(used)?.saturating_sub(cache);
    Some(limit.saturating_sub(used))
}

fn judge(wanted: Memory, available: &Available) -> Check {
    let code = if wanted.emulated {
        u64::from(TB_SIZE / 4) << 20
    } else {
        0
    };
    let bytes = wanted
        .ram
        .saturating_sub(wanted.shared)
        .saturating_add(wanted.nodes.saturating_mul(QEMU_OVERHEAD + code));
    let of = available.within.as_ref();
    let sentence = format!(
        "{} {} of memory{}, {} is available{}",
        match wanted.nodes {
            0 => "at their next start the changed nodes need".to_owned(),
            1 => "1 node needs".to_owned(),
            nodes => format!("{nodes} nodes need"),
        },
        approximate(bytes),
        match wanted.shared {
            0 => String::new(),
            shared => format!(" ({} less than without sharing)", approximate(shared)),
        },
        approximate(available.bytes),
        of.map_or_else(String::new, |group| format!(
            " in the cgroup {}",
            group.display()
        ))
    );
    let cure = format!(
        "lower MASTER_RAM, WORKER_RAM or LBL_RAM or the number of nodes, {}or pass --overcommit",
        of.map_or("", |_| "raise the cgroup's limit, ")
    );
    let finding = match (bytes <= available.bytes, wanted.overcommit) {
        (true, _) => Finding::Fine(sentence),
        (false, true) => Finding::Warning {
            what: sentence,
            cure: "continuing because of --overcommit".to_owned(),
            package: None,
        },
        (false, false) => Finding::Missing {
            what: sentence,
            cure,
            package: None,
        },
    };
    Check {
        name: "memory",
        finding,
    }
}

/// A line of `/proc/meminfo` in bytes, proc(5).
pub(super) fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(bytes: u64) -> Available {
        Available {
            bytes,
            within: None,
        }
    }

    #[test]
    fn p23_memory_is_refused_with_the_numbers() {
        let wanted = Memory {
            ram: 20 << 30,
            nodes: 7,
            ..Memory::default()
        };
        let Finding::Missing { what, .. } = judge(wanted, &host(9 << 30)).finding else {
            panic!()
        };
        assert_eq!(what, "7 nodes need 20.3G of memory, 9.0G is available");
        let fits = judge(wanted, &host(32 << 30)).finding;
        assert!(matches!(fits, Finding::Fine(_)));
        let over = Memory {
            overcommit: true,
            ..wanted
        };
        let goes_on = judge(over, &host(9 << 30)).finding;
        assert!(matches!(goes_on, Finding::Warning { .. }));
    }

    #[test]
    fn p23_shared_memory_of_woken_nodes_counts_once() {
        let wanted = Memory {
            ram: 20 << 30,
            shared: 2 << 30,
            nodes: 7,
            ..Memory::default()
        };
        let Finding::Missing { what, .. } = judge(wanted, &host(9 << 30)).finding else {
            panic!()
        };
        assert!(what.contains("need 18.3G of memory (2.0G less"), "{what}");
    }

    #[test]
    fn p23_the_tightest_cgroup_bounds_with_its_page_cache_as_free() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        // The own group has no limit, but its parent has.
        write("a/memory.max", "3000\n");
        write("a/memory.current", "1500\n");
        write(
            "a/memory.stat",
            "anon 1\ninactive_file 400\nactive_file 100\n",
        );
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "10\n");
        let found = available(9000, &places("0::/a/b\n", root));
        assert_eq!((found.bytes, found.within), (2000, Some(root.join("a"))));
        write("a/b/memory.high", "1000\n");
        let found = available(9000, &places("0::/a/b\n", root));
        assert_eq!((found.bytes, found.within), (990, Some(root.join("a/b"))));
        assert_eq!(available(500, &places("0::/a/b\n", root)), host(500));
        // Version 1 in a container: the path is the host's and is missing here.
        write("memory/memory.limit_in_bytes", "700\n");
        write("memory/memory.usage_in_bytes", "300\n");
        write("memory/memory.stat", "total_inactive_file 50\n");
        let found = available(9000, &places("4:memory:/docker/0\n", root));
        assert_eq!(
            (found.bytes, found.within),
            (450, Some(root.join("memory")))
        );
        // Memory in use already exceeds the limit.
        write("memory/memory.usage_in_bytes", "5000\n");
        let found = available(9000, &places("4:memory:/docker/0\n", root));
        assert_eq!(found.bytes, 0);
    }

    #[test]
    fn a_line_of_meminfo_is_read_in_bytes() {
        assert_eq!(
            meminfo("MemTotal: 1 kB\nMemAvailable:   24 kB\n", "MemAvailable"),
            Some(24 << 10)
        );
        assert_eq!(meminfo("", "MemAvailable"), None);
    }
}

//! Whether this user namespace has the user and group ids that QEMUs run as, user_namespaces(7).

use super::check::{Check, Finding};
use crate::ids::UIDS;

/// Checks the maps of this process's user namespace. There is nothing to say outside of one.
pub(super) fn check() -> Option<Check> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    let missing: Vec<_> = ["uid_map", "gid_map"]
        .into_iter()
        .filter(|file| read(file).is_some_and(|map| !has_all(&map)))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let (first, last) = (UIDS.start(), UIDS.end());
    Some(Check {
        name: "user ids",
        finding: Finding::Missing {
            what: format!(
                "this user namespace lacks the ids {first} to {last}, which nodes run as ({} of /proc/self)",
                missing.join(" and ")
            ),
            cure: format!(
                "run kvmc outside of it or in a privileged container, or map these ids (newuidmap(1), or `lxc.idmap = b {first} {first} {}`)",
                last - first + 1
            ),
            package: None,
        },
    })
}

/// Whether a map has all of them: lines of the first id inside, the first id outside, and a number of ids.
fn has_all(map: &str) -> bool {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (first, _, number) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        Some((first, first.saturating_add(number)))
    };
    let mut ranges: Vec<_> = map.lines().filter_map(line).collect();
    ranges.sort_unstable();
    // The first id that no range has so far.
    let mut next = u64::from(*UIDS.start());
    for (first, end) in ranges {
        if first <= next && next < end {
            next = end;
        }
    }
    next > u64::from(*UIDS.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_all_ids_or_is_refused() {
        let whole = "         0          0 4294967295\n";
        let parts = "0 100000 65536\n1950000000 5000000 20000000\n 1900000000 3000000 50000000\n";
        for map in [whole, parts] {
            assert!(has_all(map), "{map}");
        }
        let gap = "1900000000 0 50000000\n1950000001 0 20000000\n";
        let short = "0 1000000 1000000000\n";
        let rootless = "0 1000 1\n1 100000 65536\n";
        for map in ["", "junk\n1 2\n", "0 0 -1\n", gap, short, rootless] {
            assert!(!has_all(map), "{map}");
        }
    }
}

//! The programs of iptables, for each of its backends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::family::Family;
use super::iptables::deletions;
use crate::{Change, ExecError, exec};

/// The part of the kernel that holds rules of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// x_tables.
    Legacy,
    /// nftables.
    Nft,
}

impl Backend {
    pub(super) const ALL: [Self; 2] = [Self::Legacy, Self::Nft];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }

    /// The name of its program, without `-save` or `-restore`.
    pub(super) fn program(self, family: Family) -> String {
        let tables = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        format!("{tables}-{}", self.name())
    }

    /// All rules of the backend, by iptables-save(8); empty where the backend or the program is missing.
    pub(super) fn save(self, family: Family) -> Result<String, ExecError> {
        if self == Self::Legacy && !legacy_is_there(family) {
            return Ok(String::new());
        }
        match exec::run(&format!("{}-save", self.program(family)), &[], "") {
            Err(error) if error.is_missing() => Ok(String::new()),
            saved => saved,
        }
    }

    /// Applies lines such as `-I FORWARD 1 -i k80 -j ACCEPT` to the filter table in one transaction.
    pub(super) fn change(self, family: Family, lines: &[String]) -> Result<(), ExecError> {
        let text = format!("*filter\n{}\nCOMMIT\n", lines.join("\n"));
        let program = format!("{}-restore", self.program(family));
        // Other programs hold the lock only briefly.
        exec::run(&program, &["--noflush", "--wait", "5"], &text).map(drop)
    }

    /// Deletes the rules of this comment from the filter table.
    pub(super) fn withdraw(self, family: Family, mark: &str) -> Result<Change, ExecError> {
        let lines = deletions(&self.save(family)?, mark, None);
        if lines.is_empty() {
            return Ok(Change::Unchanged);
        }
        self.change(family, &lines)?;
        Ok(Change::Removed)
    }

    /// Both backends with both families.
    pub(super) fn all() -> impl Iterator<Item = (Self, Family)> {
        let families = [Family::V4, Family::V6].into_iter();
        families.flat_map(|family| Self::ALL.map(|backend| (backend, family)))
    }
}

/// Whether the legacy backend has tables. iptables-legacy-save would load its modules, which then stay.
pub(super) fn legacy_is_there(family: Family) -> bool {
    let tables = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs_err::read_to_string(Path::new(tables)).is_ok_and(|t| !t.trim().is_empty())
}

/// A digest of all rules of the legacy backend, without counters. The kernel announces no changes of these rules. Runs no
/// program where there are no rules.
///
/// # Errors
/// The tool failed; the error holds its output.
pub fn legacy_digest() -> Result<u64, ExecError> {
    let mut digest = DefaultHasher::new();
    for family in [Family::V4, Family::V6] {
        let saved = Backend::Legacy.save(family)?;
        for line in saved.lines().filter(|line| !line.starts_with('#')) {
            // A chain's line ends in its counters.
            line.split(" [").next().hash(&mut digest);
        }
    }
    Ok(digest.finish())
}

//! A rule of ours among those of others: made, and taken away.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::firewalld;
use super::iptables::{Backend, Family, deletions, others_in};
use crate::{Change, ExecError};

/// How often a change is tried: rules may change between the look and the deed.
const TIMES: u32 = 3;

/// What is added to others' rules. Written down before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Accept {
    /// Rules that accept, in a chain of iptables' filter table.
    Iptables {
        /// Whose chain.
        backend: Backend,
        /// Of which family; the first ones that were written down were all of IPv4.
        #[serde(default)]
        family: Family,
        /// The chain.
        chain: String,
        /// Where in it the first one goes, counted from 1, ours left out.
        position: usize,
        /// What they match.
        rules: Vec<String>,
    },
    /// The bridge, in a zone of firewalld.
    Zone {
        /// The zone.
        zone: String,
        /// The bridge.
        bridge: String,
    },
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iptables {
                backend,
                family,
                chain,
                ..
            } => {
                let tables = match family {
                    Family::V4 => "iptables",
                    Family::V6 => "ip6tables",
                };
                write!(f, "{chain} of {tables} ({})", backend.name())
            }
            Self::Zone { zone, .. } => write!(f, "firewalld (zone {zone})"),
        }
    }
}

impl Accept {
    /// Makes it, in the place of what may be left of it.
    ///
    /// # Errors
    /// The tool's, with its words.
    pub fn make(&self, mark: &str) -> Result<(), ExecError> {
        match self {
            Self::Iptables {
                backend,
                family,
                chain,
                position,
                rules,
            } => {
                let mut again = TIMES;
                loop {
                    let saved = backend.save(*family)?;
                    let mut lines = deletions(&saved, mark, Some(chain));
                    // Others take rules away meanwhile, other clusters of ours among them.
                    let end = others_in(&saved, mark, chain) + 1;
                    lines.extend((*position.min(&end)..).zip(rules).map(|(position, rule)| {
                        format!(
                            "-I {chain} {position} {rule} -m comment --comment \"{mark}\" -j ACCEPT"
                        )
                    }));
                    again -= 1;
                    match backend.change(*family, &lines) {
                        Err(_) if again > 0 => {}
                        done => return done,
                    }
                }
            }
            Self::Zone { zone, bridge } => firewalld::add(zone, bridge),
        }
    }

    /// Takes it away, if it has a place that [`withdraw`] does not look at.
    ///
    /// # Errors
    /// The tool's, with its words.
    pub fn unmake(&self) -> Result<Change, ExecError> {
        match self {
            Self::Iptables { .. } => Ok(Change::Unchanged),
            Self::Zone { zone, bridge } => firewalld::remove(zone, bridge),
        }
    }
}

/// Takes away all rules of this comment, whether they were written down or not.
///
/// # Errors
/// The tools', with their words, once all have been tried.
pub fn withdraw(mark: &str) -> Result<Change, ExecError> {
    let tried: Vec<_> = Backend::all()
        .map(|(backend, family)| backend.withdraw(family, mark))
        .collect();
    let mut all = Change::Unchanged;
    for one in tried {
        if one? != Change::Unchanged {
            all = Change::Removed;
        }
    }
    Ok(all)
}

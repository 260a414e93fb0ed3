//! A rule of ours among those of others: made, and taken away.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::firewalld;
use super::iptables::{Backend, deletions};
use crate::{Change, ExecError};

/// What is added to others' rules. Written down before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Accept {
    /// Rules that accept, in a chain of iptables' filter table.
    Iptables {
        /// Whose chain.
        backend: Backend,
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
            Self::Iptables { backend, chain, .. } => {
                write!(f, "{chain} of iptables ({})", backend.name())
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
                chain,
                position,
                rules,
            } => {
                let mut lines = deletions(&backend.save()?, mark, Some(chain));
                lines.extend((*position..).zip(rules).map(|(position, rule)| {
                    format!(
                        "-I {chain} {position} {rule} -m comment --comment \"{mark}\" -j ACCEPT"
                    )
                }));
                backend.change(&lines)
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
    let [legacy, nft] = Backend::ALL.map(|backend| backend.withdraw(mark));
    match (legacy?, nft?) {
        (Change::Unchanged, Change::Unchanged) => Ok(Change::Unchanged),
        _ => Ok(Change::Removed),
    }
}

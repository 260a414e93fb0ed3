//! Our rules in the chains of other programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::backend::Backend;
use super::family::Family;
use super::firewalld;
use super::iptables::{deletions, others_in};
use crate::{Change, ExecError};

/// How often a change is tried: another program may change the rules after they were read.
const TIMES: u32 = 3;

/// An addition to the rules of other programs. The caller records it before it makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Accept {
    /// Accept rules in a chain of iptables' filter table.
    Iptables {
        /// The backend that has the chain.
        backend: Backend,
        /// The chain's family; records of earlier versions have none and mean IPv4.
        #[serde(default)]
        family: Family,
        /// The chain.
        chain: String,
        /// The position of the first rule, counted from 1 without our own rules.
        position: usize,
        /// The matches of the rules.
        rules: Vec<String>,
    },
    /// The bridge in a zone of firewalld.
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
    /// Makes it, and replaces the remains of an earlier one.
    ///
    /// # Errors
    /// The tool failed; the error holds its output.
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
                    // Meanwhile other programs and other clusters may have removed rules.
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

    /// Removes the bridge from its zone. [`withdraw`] removes rules.
    ///
    /// # Errors
    /// The tool failed; the error holds its output.
    pub fn unmake(&self) -> Result<Change, ExecError> {
        match self {
            Self::Iptables { .. } => Ok(Change::Unchanged),
            Self::Zone { zone, bridge } => firewalld::remove(zone, bridge),
        }
    }
}

/// Removes all rules of this comment from iptables, on record or not.
///
/// # Errors
/// A tool failed; the error holds its output. All tools are tried first.
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

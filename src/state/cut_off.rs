//! `cut-off.json`: names that the cluster's name server lately cut off. The keeper writes it, `status` reads it.

use serde::{Deserialize, Serialize};

/// A name that was cut off, with all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CutOffName {
    pub(crate) name: String,
    /// The setting that lets it through.
    pub(crate) setting: String,
    /// When it was last asked for, in seconds since 1970, a minute late at most.
    pub(crate) time: u64,
}

/// All of them, in the order of their names.
pub(crate) type CutOffNames = Vec<CutOffName>;

//! What an idempotent verb did.

use std::fmt;

/// Whether a verb changed anything; its display is the sentence's verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The object was not there and is now.
    Created,
    /// The object was there and something of it was set right.
    Changed,
    /// The object was there and is gone now.
    Removed,
    /// All was as wanted already.
    Unchanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Change::Created => "created",
            Change::Changed => "changed",
            Change::Removed => "removed",
            Change::Unchanged => "unchanged",
        })
    }
}

//! The outcome of an idempotent operation.

use std::fmt;

/// Whether an operation changed anything. It displays as the verb of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The object was not there and is now.
    Created,
    /// The object was there and was corrected.
    Changed,
    /// The object was there and was removed.
    Removed,
    /// The object was as wanted.
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

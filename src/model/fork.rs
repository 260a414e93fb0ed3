//! Forks, as verbs report them.

use std::time::Duration;

/// A cluster that was made from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forked {
    pub(crate) name: String,
    pub(crate) of: String,
    /// The snapshot that it goes on from.
    pub(crate) snapshot: String,
    pub(crate) nodes: usize,
    /// How long the first cluster's guests stood still; `None` if the snapshot was there.
    pub(crate) paused: Option<Duration>,
    /// Until its folder was written.
    pub(crate) took: Duration,
}

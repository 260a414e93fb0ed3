//! The interface to which verbs report their progress.

use super::Stage;

/// Receives the progress of a verb.
pub(crate) trait Progress: std::fmt::Debug {
    /// A line about the cluster as a whole.
    fn say(&self, text: &str);
    /// A node has reached a stage.
    fn stage(&self, node: &str, stage: Stage, note: &str);
    /// `done` bytes of `total` of a transfer are there.
    fn transfer(&self, what: &str, done: u64, total: Option<u64>);
    /// Something begins whose length nobody knows, such as a build. It lasts until [`Self::finish`].
    fn begin(&self, _what: &str) {}
    /// Something that began has ended, well or not.
    fn finish(&self, _what: &str) {}
    /// No more progress will come. The last display stays.
    fn end(&self);
}

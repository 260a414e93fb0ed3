//! Who hears how work goes on.

use super::Stage;

/// Receives a line for each step of a verb while it works.
pub(crate) trait Progress: std::fmt::Debug {
    /// A line about the cluster as a whole.
    fn say(&self, text: &str);
    /// A node has reached a stage.
    fn stage(&self, node: &str, stage: Stage, note: &str);
    /// `done` bytes of `total` of a transfer are there.
    fn transfer(&self, what: &str, done: u64, total: Option<u64>);
    /// No more is to come: what is shown live stays as it is.
    fn end(&self);
}

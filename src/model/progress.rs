//! Who hears how work on a cluster goes on.

use super::Stage;

/// Receives a line for each step of a verb while it works.
pub(crate) trait Progress {
    /// A line about the cluster as a whole.
    fn say(&self, text: &str);
    /// A node has reached a stage.
    fn stage(&self, node: &str, stage: Stage, note: &str);
}

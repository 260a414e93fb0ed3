//! The logs of one node, for a viewer that asks again and again.

use super::logs::{Files, by_time};
use crate::model::LogLine;
use crate::state::ClusterDir;

/// Most lines of what was there before.
const BEFORE: usize = 500;

/// The console of a node, the log of its QEMU and its events.
#[derive(Debug)]
pub(crate) struct FollowedLog {
    files: Files,
    /// Not returned yet.
    lines: Vec<LogLine>,
}

impl FollowedLog {
    pub(in super::super) fn open(dir: &ClusterDir, node: &str) -> Self {
        let mut files = Files::of(vec![node.to_owned()], false);
        let mut lines = files.open(dir, true);
        by_time(&mut lines);
        lines.drain(..lines.len().saturating_sub(BEFORE));
        Self { files, lines }
    }

    /// The lines that have come since the last call; at the first call, the last lines that were there.
    pub(crate) fn news(&mut self) -> Vec<LogLine> {
        let mut lines = std::mem::take(&mut self.lines);
        let mut came = self.files.news();
        by_time(&mut came);
        lines.append(&mut came);
        lines
    }
}

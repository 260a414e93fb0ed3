//! What is being restored, from when that is decided until the guests run.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{ClusterDir, ClusterRecord, NodeRecord, next_image, read_json};

/// `restoring.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restoration {
    /// The snapshot; `None` for a suspended cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
    /// The number of the images to restore on, see [`next_image`]. As long as the record does not name them, nothing is
    /// decided. A suspended cluster goes on in its own images.
    #[serde(default)]
    pub(crate) number: u32,
    /// The guests' clocks stay as they were saved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keeps_clock: bool,
}

impl Restoration {
    /// What a suspended cluster goes on from.
    pub(crate) const fn of_suspended() -> Self {
        Self {
            snapshot: None,
            number: 0,
            keeps_clock: false,
        }
    }

    /// What is being restored, if that is decided.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub(crate) fn decided(dir: &ClusterDir) -> Result<Option<Self>> {
        let Some(found) = read_json::<Self>(&dir.restoring())? else {
            return Ok(None);
        };
        let record = ClusterRecord::load(dir)?;
        Ok(record
            .is_some_and(|r| found.is_decided(&r))
            .then_some(found))
    }

    /// Whether the record has its disks.
    fn is_decided(&self, record: &ClusterRecord) -> bool {
        let image = next_image(0, self.number);
        let has_it = |node: &NodeRecord| node.chain(0).first() == Some(&image);
        self.snapshot.is_none() || record.nodes.iter().all(has_it)
    }

    /// The folder of the saved state.
    pub(crate) fn folder(&self, dir: &ClusterDir) -> PathBuf {
        match &self.snapshot {
            Some(name) => dir.snapshot(name),
            None => dir.suspended(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record;

    /// A rollback that was given up must not come true once the record is written again.
    #[test]
    fn only_the_record_with_its_images_decides_a_rollback() {
        let mut record = record();
        let rollback = Restoration {
            snapshot: Some("a".to_owned()),
            number: 7,
            keeps_clock: false,
        };
        record.generation = 100;
        assert!(!rollback.is_decided(&record));
        for node in &mut record.nodes {
            node.chains = vec![vec![next_image(0, 7), "disk.qcow2".to_owned()]];
        }
        assert!(rollback.is_decided(&record));
        record.nodes[1].chains[0].remove(0);
        assert!(!rollback.is_decided(&record));
        let suspended = Restoration {
            snapshot: None,
            ..rollback
        };
        assert!(suspended.is_decided(&record));
    }
}

//! A disk that grows while its node runs: first the disk, then the guest's partition and file system.

use std::fmt;

use anyhow::Result;
use kvmc_images::qcow2;

use super::bench::Workbench;
use crate::failpoint::failpoint;
use crate::keeper::Keeper;
use crate::spec::Bytes;
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, remove_file};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) node: String,
    pub(crate) size: Bytes,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grow the disk of {} to {}", self.node, self.size)
    }
}

/// Whether the disk is smaller than recorded, or its guest has not followed yet.
pub(crate) fn is_due(node: &NodeRecord, dir: &ClusterDir) -> bool {
    let dir = dir.node(&node.name);
    let is_smaller =
        qcow2::inspect(&dir.top_image(node, 0)).is_ok_and(|d| d.virtual_size < node.disk.0);
    is_smaller || dir.growing().exists()
}

impl Growth {
    /// Grows the disk of a running node, unless the node's start has done so or will.
    pub(crate) async fn make(&self, record: &ClusterRecord, bench: Workbench<'_>) -> Result<()> {
        let (node, dir) = (record.node(&self.node)?, bench.host.dir);
        let runs = super::node::look(dir, &node.name, &node.uuid).is_some();
        if !runs || !is_due(node, dir) {
            return Ok(());
        }
        let mark = dir.node(&self.node).growing();
        fs_err::write(&mark, "")?;
        failpoint!("grow.mark");
        let keeper = Keeper::of(dir, &record.spec.name);
        keeper.grow(&self.node).await?;
        failpoint!("grow.disk");
        remove_file(&mark)?;
        let later = match node.seeded {
            true => "; its file system follows when it boots",
            false => "",
        };
        let (node, size) = (&self.node, self.size);
        bench
            .progress
            .say(&format!("{node}: its disk has {size}{later}"));
        Ok(())
    }
}

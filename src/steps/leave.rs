//! The record's part in the removal of nodes.

use anyhow::Result;

use crate::failpoint::failpoint;
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, Phase};

/// Records that nodes leave, before anything of them is removed: the specification no longer has them. After a kill,
/// the next verb removes the rest.
///
/// # Errors
/// Fails if the record cannot be read or written.
pub(crate) fn announce(wanted: &mut ClusterRecord, dir: &ClusterDir) -> Result<()> {
    let Some(mut record) = ClusterRecord::load(dir)? else {
        return Ok(());
    };
    record.spec.clone_from(&wanted.spec);
    if record.phase == Phase::Up {
        record.phase = Phase::Starting;
    }
    record.save(dir)?;
    wanted.generation = record.generation;
    failpoint!("leave.record");
    Ok(())
}

/// Takes nodes of which nothing is left out of the record.
///
/// # Errors
/// Fails if the record cannot be read or written.
pub(crate) fn forget(
    nodes: &[NodeRecord],
    wanted: &mut ClusterRecord,
    dir: &ClusterDir,
) -> Result<()> {
    failpoint!("leave.removed");
    let Some(mut record) = ClusterRecord::load(dir)? else {
        return Ok(());
    };
    let names: Vec<_> = nodes.iter().map(|n| n.name.as_str()).collect();
    record.forget(&names);
    record.save(dir)?;
    wanted.generation = record.generation;
    failpoint!("leave.forgotten");
    Ok(())
}

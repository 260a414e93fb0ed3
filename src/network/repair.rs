//! Restores what other programs remove while the cluster runs. The nodes do not notice.

use anyhow::Result;

use super::accepts::{self, FirewallLog, Restored};
use super::forwarding::{self, Family};
use super::{NetworkState, rules};
use crate::ids::now;
use crate::state::{ClusterDir, ClusterRecord};

/// Restores what `seen` lacks, and returns it in words.
///
/// # Errors
/// Fails if something cannot be restored.
pub(crate) fn restore(
    record: &ClusterRecord,
    dir: &ClusterDir,
    seen: &NetworkState,
) -> Result<Vec<String>> {
    let missing = seen.missing();
    if missing.is_empty() {
        return Ok(missing);
    }
    for network in record.networks() {
        if seen.lost_tables.contains(&network.table) {
            rules::table(record, network).apply()?;
        }
    }
    for accept in &seen.accepts {
        accepts::make(record, dir, accept)?;
    }
    if !seen.forwarding {
        forwarding::enable(&dir.state(), Family::V4)?;
    }
    if !seen.forwarding6 {
        forwarding::enable(&dir.state(), Family::V6)?;
    }
    let mut made = FirewallLog::load(dir)?;
    let times = made.restored.map_or(0, |r| r.times);
    made.restored = Some(Restored {
        time: now() as u64,
        times: times + 1,
        what: missing.clone(),
    });
    made.save(dir)?;
    Ok(missing)
}

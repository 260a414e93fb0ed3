//! The network namespace that a cluster's objects are in.

use std::os::unix::fs::MetadataExt;

use anyhow::{Result, bail};

use crate::state::{ClusterRecord, Phase};

/// Inode of the network namespace that this process is in.
pub(crate) fn namespace() -> Result<u64> {
    Ok(fs_err::metadata("/proc/self/ns/net")?.ino())
}

/// Refuses to work on a cluster from another network namespace than it is in.
///
/// # Errors
/// That it is so.
pub(crate) fn check_namespace(record: &ClusterRecord) -> Result<()> {
    if record.phase == Phase::Stopped || record.host.namespace == namespace()? {
        return Ok(());
    }
    // After a host reboot nothing of it is anywhere, and the number means nothing any more.
    bail!(
        "cluster `{}` runs in another network namespace; run kvmc there (ip netns exec, nsenter --net)",
        record.spec.name
    )
}

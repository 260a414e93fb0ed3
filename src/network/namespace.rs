//! The network namespace of a cluster's objects.

use anyhow::Result;

use crate::hint::bail_with_hint;
use crate::state::{ClusterRecord, Phase, namespace};

/// Refuses to work on a cluster that runs in another network namespace.
///
/// # Errors
/// Fails if it does.
pub(crate) fn check_namespace(record: &ClusterRecord) -> Result<()> {
    if record.phase == Phase::Stopped || record.host.namespace == namespace()? {
        return Ok(());
    }
    // After a reboot of the host the cluster has no objects, and the inode means nothing.
    bail_with_hint!(
        "run kvmc in that namespace, with `ip netns exec` or `nsenter --net`",
        "cluster `{}` runs in another network namespace",
        record.spec.name
    )
}

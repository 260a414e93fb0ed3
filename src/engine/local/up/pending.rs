//! Nodes that wait for a start to become what their record says.

use anyhow::Result;

use crate::node::{Identity, find_qemu, machine_of, vcpus};
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, read_json, replace_json};

/// The nodes that run with another machine than the recorded one.
pub(in crate::engine::local) fn pending(record: &ClusterRecord, dir: &ClusterDir) -> Vec<String> {
    let nodes = record.nodes.iter();
    let differs = |node: &&NodeRecord| {
        let identity = read_json::<Identity>(&dir.node(&node.name).process());
        let identity = identity.ok().flatten().filter(|i| i.open().is_some());
        let running = identity.and_then(|i| machine_of(i.pid));
        let wanted = (vcpus(node.vcpus, &record.accelerator), node.ram.as_mib());
        running.is_some_and(|running| running != wanted)
    };
    nodes.filter(differs).map(|n| n.name.clone()).collect()
}

/// Records our running QEMU processes that are not recorded, because a verb was killed right after it started them.
/// Otherwise the keeper would not attend them.
///
/// # Errors
/// Fails if a record cannot be written.
pub(super) fn adopt(record: &ClusterRecord, dir: &ClusterDir) -> Result<()> {
    for node in &record.nodes {
        let path = dir.node(&node.name).process();
        let recorded = read_json::<Identity>(&path).ok().flatten();
        if recorded.is_some_and(|identity| identity.open().is_some()) {
            continue;
        }
        if let Some(found) = find_qemu(&node.uuid) {
            replace_json(&path, &found, 0o600)?;
        }
    }
    Ok(())
}

//! What a node's saved state needs to be the same when it is restored.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use kvmc_images::Store;

use crate::engine::local::Local;
use crate::engine::local::frozen::shape_of;
use crate::hint::{add_hint, bail_with_hint, command};
use crate::host::qemu_program;
use crate::node::{machine_of, vcpus};
use crate::snapshot::{Fits, Manifest};
use crate::state::{ClusterRecord, NodeRecord};

/// What there is now for each node that the cluster runs.
///
/// # Errors
/// Fails if an image or QEMU is missing.
pub(super) fn present(local: &Local, record: &ClusterRecord) -> Result<BTreeMap<String, Fits>> {
    let store = Store::open(local.state.root());
    let nodes = record.nodes.iter();
    let nodes = nodes.filter(|n| !record.stopped.contains(&n.name));
    nodes
        .map(|node| {
            let image = store.get(node.base.image())?;
            let shape = shape_of(record, node, &image)?;
            let fits = Fits {
                qemu: shape.qemu().to_owned(),
                kernel: image.kernel_digests(),
                image: image.id.clone(),
                // A node that was made anew has the same shape, and another disk.
                shape: format!("{} of {}", shape.machine_key(), node.uuid),
            };
            Ok((node.name.clone(), fits))
        })
        .collect()
}

/// Refuses a snapshot that needs something else than there is.
///
/// # Errors
/// Fails with the first difference.
pub(super) fn check(local: &Local, record: &ClusterRecord, manifest: &Manifest) -> Result<()> {
    let present = present(local, record)?;
    manifest.check(&present).map_err(|misfit| {
        let list = local.command("snapshot ls");
        add_hint(misfit.into(), format!("{list} shows the snapshots"))
    })
}

/// Refuses to save a node whose QEMU is not the one that would restore it.
///
/// # Errors
/// Fails if the program was replaced, or if the node runs with another size than the record has.
pub(super) fn check_running(
    cluster: &str,
    record: &ClusterRecord,
    node: &NodeRecord,
    pid: i32,
) -> Result<()> {
    let restart = || {
        let restart = command(cluster, &format!("restart {}", node.name));
        format!("{restart} starts it anew")
    };
    let program = qemu_program(record.spec.architecture);
    let there = fs_err::metadata(&program)?;
    let runs = std::fs::metadata(format!("/proc/{pid}/exe"));
    let runs = runs.with_context(|| format!("the QEMU of {} has ended", node.name))?;
    if (runs.dev(), runs.ino()) != (there.dev(), there.ino()) {
        bail_with_hint!(
            restart(),
            "{} runs on another QEMU than {} is now",
            node.name,
            program.display()
        );
    }
    let wanted = (vcpus(node.vcpus, &record.accelerator), node.ram.as_mib());
    if machine_of(pid).is_some_and(|has| has != wanted) {
        bail_with_hint!(
            restart(),
            "{} runs with other RAM or vcpus than its record has",
            node.name
        );
    }
    Ok(())
}

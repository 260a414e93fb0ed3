//! `down`: nothing left. Goes on past errors, and treats what is gone already as done.

use std::time::Duration;

use anyhow::Context;
use kvmc_netns::Links;
use nix::sys::signal::Signal;

use super::stop::process;
use super::{artifacts, firewalls, forwarding, network};
use crate::keeper::Keeper;
use crate::node::Secrets;
use crate::state::{ClusterDir, ClusterRecord, Phase, State, read_json};

/// What `down` did.
#[derive(Debug)]
pub(crate) struct Removed {
    /// Nodes that were running.
    pub(crate) killed: usize,
    /// All that went wrong.
    pub(crate) errors: Vec<anyhow::Error>,
}

/// Removes a cluster. The guests' data goes with it, so they are not asked to shut down.
pub(crate) async fn down(
    mut record: ClusterRecord,
    state: &State,
    dir: &ClusterDir,
    links: &Links,
) -> Removed {
    let mut errors = Vec::new();
    let was_stopped = record.phase == Phase::Stopped;
    record.phase = Phase::Removing;
    errors.extend(record.save(dir).err());
    let handles: Vec<_> = record
        .nodes
        .iter()
        .filter_map(|n| process(dir, &n.name, &n.uuid))
        .collect();
    for handle in &handles {
        errors.extend(handle.signal(Signal::SIGKILL).err());
    }
    errors.extend(Keeper::of(dir, &record.spec.name).end().await.err());
    for handle in &handles {
        if !handle.ended(Duration::from_secs(10)).await {
            errors.push(anyhow::anyhow!(
                "a QEMU of `{}` does not end",
                record.spec.name
            ));
        }
    }
    if !was_stopped {
        errors.extend(firewalls::withdraw(&record, dir));
        errors.extend(network::remove(&record, links).await);
    }
    // After a reboot of the host, what is remembered of its switches is to be forgotten.
    if !was_stopped || record.host_rebooted {
        errors.extend(
            forwarding::release(state, &record)
                .context("failed to switch forwarding off again")
                .err(),
        );
    }
    let secrets = read_json::<Secrets>(&dir.secrets()).ok().flatten();
    errors.extend(artifacts::remove(&record, secrets.as_ref()).err());
    errors.extend(fs_err::remove_dir_all(dir.path()).err().map(Into::into));
    // The last cluster's folder of clusters; refused while there is another.
    let _others_there = std::fs::remove_dir(state.clusters());
    Removed {
        killed: handles.len(),
        errors,
    }
}

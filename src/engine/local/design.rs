//! The record that a cluster is to have: designed on what the host has, and what there is of the cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use kvmc_netns::Links;

use crate::hint;
use crate::ids::boot_id;
use crate::image::Pick;
use crate::model::Accelerator;
use crate::network;
use crate::plan::{Design, compose};
use crate::spec::{ClusterSpec, Forward};
use crate::state::{ClusterDir, ClusterRecord, HostRecord, NetworkRecord, Phase};

/// What is known when a record is designed.
pub(super) struct Blueprint<'a> {
    pub(super) spec: ClusterSpec,
    /// The image of each role's new nodes.
    pub(super) picks: &'a BTreeMap<String, Pick>,
    pub(super) accelerator: Accelerator,
    pub(super) project: PathBuf,
    pub(super) dir: &'a ClusterDir,
    pub(super) existing: Option<&'a ClusterRecord>,
    pub(super) links: &'a Links,
}

/// The record of a new cluster, or of one that changes.
///
/// # Errors
/// A change that a cluster cannot make while it is there, or a host that cannot be looked at.
pub(super) async fn design(blueprint: Blueprint<'_>) -> Result<ClusterRecord> {
    let Blueprint {
        spec,
        picks,
        accelerator,
        project,
        dir,
        existing,
        links,
    } = blueprint;
    let host = HostRecord {
        namespace: network::namespace()?,
        boot_id: boot_id()?,
        ..HostRecord::default()
    };
    let (host, networks) = match existing {
        Some(record) if record.phase == Phase::Stopped => {
            // The host may have another uplink by now, and be in another namespace.
            let designed = network::design(&spec, dir, links).await?;
            let networks: Vec<_> = designed.into_iter().map(|n| keep(n, record)).collect();
            let forwarding_was_off = record.host.forwarding_was_off;
            let host = HostRecord {
                forwarding_was_off,
                ..host
            };
            (host, networks)
        }
        Some(record) => (record.host.clone(), record.networks().cloned().collect()),
        None => (host, network::design(&spec, dir, links).await?),
    };
    let nodes = existing.map(|r| r.nodes.clone()).unwrap_or_default();
    let mut record = compose(Design {
        spec,
        picks,
        accelerator,
        project,
        host,
        networks,
        dir: dir.path(),
        existing: &nodes,
    })?;
    if let Some(existing) = existing {
        record.forwards = forwards(existing, &record.spec)?;
        // What is removed later is not to come back as a wish of before.
        record.spec.forwards.clone_from(&record.forwards);
        record.generation = existing.generation;
        record.phase = existing.phase;
    }
    Ok(record)
}

/// A network designed anew, with what of it stays the same for the cluster's life.
fn keep(designed: NetworkRecord, record: &ClusterRecord) -> NetworkRecord {
    match record.networks().find(|n| n.name == designed.name) {
        Some(before) => NetworkRecord {
            mac: before.mac,
            prefix6: before.prefix6,
            ..designed
        },
        None => designed,
    }
}

/// What there is, and what of the wish is not there yet: `up` takes no forward away.
fn forwards(existing: &ClusterRecord, spec: &ClusterSpec) -> Result<Vec<Forward>> {
    let mut forwards = existing.forwards.clone();
    for wanted in &spec.forwards {
        match forwards.iter().find(|f| f.collides(wanted)) {
            Some(there) if there == wanted => {}
            Some(there) => {
                let remove = format!("forward rm {}", there.host_side());
                bail!(
                    "forward: {wanted} is asked for, and there is {there}; {} first",
                    hint::command(&spec.name, &remove)
                );
            }
            None => forwards.push(wanted.clone()),
        }
    }
    Ok(forwards)
}

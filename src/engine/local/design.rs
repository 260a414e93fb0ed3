//! Designs a cluster's record from its settings, the host and the existing record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use kvmc_netns::Links;
use kvmc_netns::outside::run_outside;

use crate::hint::{bail_with_hint, command};
use crate::ids::boot_id;
use crate::image::Pick;
use crate::model::Accelerator;
use crate::network;
use crate::plan::{Design, compose};
use crate::spec::{ClusterSpec, Forward};
use crate::state::{ClusterDir, ClusterRecord, Fork, HostRecord, NetworkRecord, Phase, namespace};

/// The input of a design.
pub(super) struct Blueprint<'a> {
    pub(super) spec: ClusterSpec,
    /// The image for each role's new nodes.
    pub(super) picks: &'a BTreeMap<String, Pick>,
    pub(super) accelerator: Accelerator,
    pub(super) project: PathBuf,
    pub(super) dir: &'a ClusterDir,
    pub(super) existing: Option<&'a ClusterRecord>,
    pub(super) links: &'a Links,
}

/// Designs the record of a new cluster, or of one that changes.
///
/// # Errors
/// Fails if an existing cluster cannot change in this way, or if the host's state cannot be read.
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
        namespace: namespace()?,
        boot_id: boot_id()?,
        ..HostRecord::default()
    };
    let (host, networks) = match existing {
        Some(record) if record.phase == Phase::Stopped => {
            // The host may have another uplink by now, and kvmc may run in another network namespace.
            let designed = network::design(&spec, dir, links).await?;
            let networks: Vec<_> = designed.into_iter().map(|n| keep(n, record)).collect();
            let host = started_here(record, host)?;
            (host, networks)
        }
        Some(record) => (record.host.clone(), record.networks().cloned().collect()),
        None => (host, network::design(&spec, dir, links).await?),
    };
    let nodes = existing.map(|r| r.nodes.clone()).unwrap_or_default();
    let resting = existing.map_or(&[][..], |r| &r.resting);
    /// Each is a question by ARP, which takes 60 ms.
    const MOST_ROUNDS: u32 = 100;
    let (mut in_use, mut rounds) = (BTreeSet::new(), 0);
    let mut record = loop {
        let record = compose(Design {
            spec: spec.clone(),
            picks,
            accelerator: accelerator.clone(),
            project: project.clone(),
            host: host.clone(),
            networks: networks.clone(),
            dir: dir.path(),
            existing: &nodes,
            resting,
            in_use: &in_use,
        })?;
        // On a bridge that is there somebody may have an address that is nobody's in the record: a virtual IP.
        let used = network::used_of_new(&record, &nodes, links).await?;
        if used.is_empty() {
            break record;
        }
        in_use.extend(used);
        rounds += 1;
        if rounds > MOST_ROUNDS {
            bail!(
                "somebody on the bridge answers for each of the {} addresses that new nodes were to have",
                in_use.len()
            );
        }
    };
    if let Some(existing) = existing {
        record.forwards = forwards(existing, &record)?;
        let is_there = |name: &&String| record.node(name).is_ok();
        let stopped = existing.stopped.iter().filter(is_there).cloned();
        record.stopped = stopped.collect();
        // Forwards that are removed later must not come back from the specification.
        record.spec.forwards.clone_from(&record.forwards);
        record.generation = existing.generation;
        record.snapshot.clone_from(&existing.snapshot);
        record.phase = existing.phase;
    }
    Ok(record)
}

/// What a stopped cluster keeps of its place on the host when it starts.
fn started_here(record: &ClusterRecord, here: HostRecord) -> Result<HostRecord> {
    let outside = run_outside(namespace)??;
    let fork = record.host.fork.clone();
    Ok(HostRecord {
        forwarding_was_off: record.host.forwarding_was_off,
        fork: fork.map(|fork| Fork { outside, ..fork }),
        ..here
    })
}

/// Keeps what must not change during the cluster's life in a newly designed network.
fn keep(designed: NetworkRecord, record: &ClusterRecord) -> NetworkRecord {
    match record.networks().find(|n| n.name == designed.name) {
        Some(before) => NetworkRecord {
            mac: before.mac,
            prefix6: before.prefix6,
            // Its guests go on with what the first cluster's have.
            mtu: match record.host.fork {
                Some(_) => before.mtu,
                None => designed.mtu,
            },
            ..designed
        },
        None => designed,
    }
}

/// The existing forwards and the requested ones that are missing. A forward goes with its node; else only `forward rm`
/// removes one.
fn forwards(existing: &ClusterRecord, wanted: &ClusterRecord) -> Result<Vec<Forward>> {
    let spec = &wanted.spec;
    let mut forwards = existing.forwards.clone();
    forwards.retain(|f| wanted.node(&f.node).is_ok());
    for wanted in &spec.forwards {
        match forwards.iter().find(|f| f.collides(wanted)) {
            Some(there) if there == wanted => {}
            Some(there) => {
                let remove = format!("forward rm {}", there.host_side());
                bail_with_hint!(
                    format!("{} removes that", command(&spec.name, &remove)),
                    "forward: `{wanted}` is requested, but the port has the forward `{there}`"
                );
            }
            None => forwards.push(wanted.clone()),
        }
    }
    Ok(forwards)
}

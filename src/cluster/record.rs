//! From a spec to the record of a cluster: every node with all that it keeps for life.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kvmc_netns::Links;

use super::network::{self, tap_name};
use crate::host::Accelerator;
use crate::node::identity::{mac, random_id, uid, uuid};
use crate::spec::ClusterSpec;
use crate::state::{ClusterDir, ClusterRecord, FORMAT, NetworkRecord, NodeRecord, Phase};

/// The record of a new cluster, or of one that grows.
///
/// # Errors
/// A change that a cluster cannot make while it is there.
pub(crate) async fn design(
    spec: ClusterSpec,
    image: String,
    accelerator: Accelerator,
    project: PathBuf,
    dir: &ClusterDir,
    existing: Option<&ClusterRecord>,
    links: &Links,
) -> Result<ClusterRecord> {
    let network = match existing {
        Some(record) if record.phase == Phase::Stopped => {
            // The host may have another uplink by now, and be in another namespace.
            NetworkRecord {
                mac: record.network.mac,
                forwarding_was_off: record.network.forwarding_was_off,
                ..network::design(&spec, links).await?
            }
        }
        Some(record) => record.network.clone(),
        None => network::design(&spec, links).await?,
    };
    let nodes = existing.map(|r| r.nodes.clone()).unwrap_or_default();
    let mut record = compose(
        spec,
        image,
        accelerator,
        project,
        network,
        dir.path(),
        &nodes,
    )?;
    if let Some(existing) = existing {
        record.generation = existing.generation;
        record.phase = existing.phase;
    }
    Ok(record)
}

/// The pure part.
pub(super) fn compose(
    spec: ClusterSpec,
    image: String,
    accelerator: Accelerator,
    project: PathBuf,
    network: NetworkRecord,
    dir: &Path,
    existing: &[NodeRecord],
) -> Result<ClusterRecord> {
    let wanted = spec.node_names();
    if let Some(gone) = existing
        .iter()
        .find(|n| !wanted.iter().any(|(name, _)| *name == n.name))
    {
        bail!(
            "cluster `{}` has {} and fewer nodes are asked for; `kvmc down` first, a node is not removed from under a cluster",
            spec.name,
            gone.name
        );
    }
    let mut addresses: HashSet<Ipv4Addr> = existing.iter().map(|n| n.address).collect();
    let mut macs: HashSet<_> = existing
        .iter()
        .map(|n| n.mac)
        .chain([network.mac])
        .collect();
    let mut uids: HashSet<u32> = existing.iter().map(|n| n.uid).collect();
    let mut nodes = Vec::new();
    for (name, role) in wanted {
        if let Some(node) = existing.iter().find(|n| n.name == name) {
            nodes.push(node.clone());
            continue;
        }
        let address = spec
            .subnet
            .iter()
            .skip(2)
            .find(|a| *a != spec.subnet.broadcast() && !addresses.contains(a))
            .with_context(|| format!("no address is left in {} for {name}", spec.subnet))?;
        let mac = (0..)
            .map(|n| mac(&spec.name, &name, n))
            .find(|m| !macs.contains(m));
        let uid = (0..1024).map(|n| uid(dir, n)).find(|u| !uids.contains(u));
        let (mac, uid) = mac
            .zip(uid)
            .with_context(|| format!("no identity is left for {name}"))?;
        addresses.insert(address);
        macs.insert(mac);
        uids.insert(uid);
        nodes.push(NodeRecord {
            role,
            address,
            mac,
            uuid: uuid(&random_id()),
            machine_id: random_id(),
            uid,
            tap: tap_name(&spec.bridge, &name),
            vcpus: spec.vcpus,
            ram: spec.role(role).ram,
            disk: spec.disk,
            frozen: None,
            name,
        });
    }
    Ok(ClusterRecord {
        format: FORMAT,
        generation: 0,
        phase: Phase::Starting,
        spec,
        image,
        accelerator,
        project,
        network,
        nodes,
    })
}

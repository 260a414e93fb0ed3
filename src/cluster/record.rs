//! From a spec to the record of a cluster: every node with all that it keeps for life.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use kvmc_images::Guest;
use kvmc_netns::{Links, MacAddr};

use crate::ids::{mac, random_id, uid, uuid};
use crate::image::Pick;
use crate::model::Accelerator;
use crate::network::{self, tap_name};
use crate::spec::{ClusterSpec, Forward, Role};
use crate::state::{
    ClusterDir, ClusterRecord, FORMAT, NetworkRecord, NicRecord, NodeRecord, Phase,
};

/// The image of each role's new nodes.
type Picks = BTreeMap<Role, Pick>;

/// The record of a new cluster, or of one that grows.
///
/// # Errors
/// A change that a cluster cannot make while it is there.
pub(crate) async fn design(
    spec: ClusterSpec,
    picks: &Picks,
    accelerator: Accelerator,
    project: PathBuf,
    dir: &ClusterDir,
    existing: Option<&ClusterRecord>,
    links: &Links,
) -> Result<ClusterRecord> {
    let networks = match existing {
        Some(record) if record.phase == Phase::Stopped => {
            // The host may have another uplink by now, and be in another namespace.
            let designed = network::design(&spec, dir, links).await?;
            designed
                .into_iter()
                .map(|network| keep(network, record))
                .collect()
        }
        Some(record) => record.networks().cloned().collect(),
        None => network::design(&spec, dir, links).await?,
    };
    let nodes = existing.map(|r| r.nodes.clone()).unwrap_or_default();
    let mut record = compose(
        spec,
        picks,
        accelerator,
        project,
        networks,
        dir.path(),
        &nodes,
    )?;
    if let Some(existing) = existing {
        record.forwards = forwards(existing, &record.spec)?;
        // What is removed later is not to come back as a wish of before.
        record.spec.forwards.clone_from(&record.forwards);
        record.image.clone_from(&existing.image);
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
            forwarding_was_off: before.forwarding_was_off,
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
            Some(there) => bail!(
                "forward: {wanted} is asked for, and there is {there}; `kvmc forward rm {}` first",
                there.host_side()
            ),
            None => forwards.push(wanted.clone()),
        }
    }
    Ok(forwards)
}

/// The pure part.
pub(super) fn compose(
    spec: ClusterSpec,
    picks: &Picks,
    accelerator: Accelerator,
    project: PathBuf,
    networks: Vec<NetworkRecord>,
    dir: &Path,
    existing: &[NodeRecord],
) -> Result<ClusterRecord> {
    let wanted = spec.node_names();
    let image = picks
        .get(&Role::Master)
        .map(|p| p.id.clone())
        .unwrap_or_default();
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
    let taken: Vec<_> = existing.iter().flat_map(NodeRecord::nics).collect();
    let mut addresses: HashSet<Ipv4Addr> = taken.iter().map(|n| n.address).collect();
    let bridges = networks.iter().map(|n| n.mac);
    let mut macs: HashSet<_> = taken.iter().map(|n| n.mac).chain(bridges).collect();
    let mut uids: HashSet<u32> = existing.iter().map(|n| n.uid).collect();
    let mut nodes = Vec::new();
    for (name, role) in wanted {
        if let Some(node) = existing.iter().find(|n| n.name == name) {
            nodes.push(node.clone());
            continue;
        }
        let uid = (0..1024)
            .map(|n| uid(dir, n))
            .find(|u| !uids.contains(u))
            .with_context(|| format!("no identity is left for {name}"))?;
        let pick = picks
            .get(&role)
            .with_context(|| format!("no image was found for {name}"))?;
        uids.insert(uid);
        let mut more_nics = networks
            .iter()
            .map(|network| nic(&spec.name, network, &name, &mut addresses, &mut macs))
            .collect::<Result<VecDeque<_>>>()?;
        let NicRecord { address, mac, tap } = more_nics
            .pop_front()
            .context("a cluster without a network")?;
        nodes.push(NodeRecord {
            role,
            address,
            mac,
            uuid: uuid(&random_id()),
            machine_id: random_id(),
            uid,
            tap,
            vcpus: spec.vcpus,
            ram: spec.role(role).ram,
            disk: spec.disk,
            more_nics: more_nics.into(),
            image: (pick.id != image).then(|| pick.id.clone()),
            seeded: pick.guest == Guest::CloudInit,
            frozen: None,
            name,
        });
    }
    check_names(&networks, &nodes)?;
    let mut networks = networks.into_iter();
    let network = networks.next().context("a cluster without a network")?;
    Ok(ClusterRecord {
        forwards: spec.forwards.clone(),
        format: FORMAT,
        generation: 0,
        phase: Phase::Starting,
        spec,
        image,
        accelerator,
        project,
        network,
        more_networks: networks.collect(),
        nodes,
        host_rebooted: false,
    })
}

/// Refuses a bridge that was given the name of a tap or of another bridge.
fn check_names(networks: &[NetworkRecord], nodes: &[NodeRecord]) -> Result<()> {
    let mut names: HashSet<String> = nodes
        .iter()
        .flat_map(NodeRecord::nics)
        .map(|n| n.tap)
        .collect();
    match networks.iter().find(|n| !names.insert(n.bridge.clone())) {
        None => Ok(()),
        Some(network) => bail!(
            "the bridge {} of network {} has the name of another link of this cluster; give it another",
            network.bridge,
            network.name
        ),
    }
}

/// A new node's card in a network.
fn nic(
    cluster: &str,
    network: &NetworkRecord,
    node: &str,
    addresses: &mut HashSet<Ipv4Addr>,
    macs: &mut HashSet<MacAddr>,
) -> Result<NicRecord> {
    let subnet = network.subnet;
    let address = subnet
        .iter()
        .skip(2)
        .find(|a| *a != subnet.broadcast() && !addresses.contains(a))
        .with_context(|| format!("no address is left in {subnet} for {node}"))?;
    let thing = if network.is_main() {
        node.to_owned()
    } else {
        format!("{node} in {}", network.name)
    };
    let mac = (0..)
        .map(|n| mac(cluster, &thing, n))
        .find(|m| !macs.contains(m))
        .with_context(|| format!("no identity is left for {node}"))?;
    addresses.insert(address);
    macs.insert(mac);
    Ok(NicRecord {
        address,
        mac,
        tap: tap_name(&network.bridge, node),
    })
}

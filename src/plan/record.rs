//! Makes the record of a cluster from its specification, with everything that a node keeps for life.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use kvmc_images::Guest;

use super::disks::grow;
use super::given;
use super::taken::Taken;
use crate::ids::{random_id, uuid};
use crate::image::Pick;
use crate::model::Accelerator;
use crate::spec::ClusterSpec;
use crate::state::{
    Base, ClusterRecord, FORMAT, HostRecord, NetworkRecord, Networks, NodeRecord, Phase,
    RestingNode,
};

/// The input of a record.
#[derive(Debug)]
pub(crate) struct Design<'a> {
    pub(crate) spec: ClusterSpec,
    /// The image of each role's new nodes.
    pub(crate) picks: &'a BTreeMap<String, Pick>,
    pub(crate) accelerator: Accelerator,
    pub(crate) project: PathBuf,
    pub(crate) host: HostRecord,
    /// The main network comes first.
    pub(crate) networks: Vec<NetworkRecord>,
    /// The cluster's folder, from which the user ids of new QEMU processes are derived.
    pub(crate) dir: &'a Path,
    /// Existing nodes. Those that are still wanted keep everything except their machine's size.
    pub(crate) existing: &'a [NodeRecord],
    /// Addresses of nodes that were removed earlier.
    pub(crate) resting: &'a [RestingNode],
    /// Addresses that somebody on a bridge uses.
    pub(crate) in_use: &'a BTreeSet<Ipv4Addr>,
}

/// The record of a new cluster, or of one that grows or shrinks.
///
/// # Errors
/// Fails if a role has no image, or if no address or id is free.
pub(crate) fn compose(design: Design<'_>) -> Result<ClusterRecord> {
    let Design {
        mut spec,
        picks,
        accelerator,
        project,
        host,
        networks,
        dir,
        existing,
        resting,
        in_use,
    } = design;
    grow(&mut spec, picks);
    let mut taken = Taken::by(existing, &networks);
    taken.addresses.extend(in_use);
    taken.resting = resting.to_vec();
    given::check(&spec, existing, in_use)?;
    taken.addresses.extend(spec.given_addresses());
    let mut nodes = Vec::new();
    for (name, role) in spec.node_names() {
        if let Some(node) = existing.iter().find(|n| n.name == name) {
            check_unreserved(&spec, node)?;
            nodes.push(NodeRecord {
                vcpus: role.vcpus,
                ram: role.ram,
                disk: role.disk.max(node.disk),
                ..node.clone()
            });
            continue;
        }
        let pick = picks
            .get(&role.name)
            .with_context(|| format!("the role of {name} has no image"))?;
        nodes.push(NodeRecord {
            role: role.name.clone(),
            uuid: uuid(&random_id()),
            machine_id: random_id(),
            uid: taken.uid(dir, &name)?,
            vcpus: role.vcpus,
            ram: role.ram,
            disk: role.disk,
            disks: role.disks.clone(),
            cpu: role.cpu.clone(),
            nested: role.nested,
            nics: taken.nics(&spec, &networks, role, &name)?,
            base: Base::Image {
                image: pick.id.clone(),
            },
            seeded: pick.guest == Guest::CloudInit,
            chains: Vec::new(),
            name,
        });
    }
    check_names(&networks, &nodes)?;
    let leaving = existing
        .iter()
        .filter(|n| nodes.iter().all(|node| node.name != n.name));
    let leaving = leaving.map(NodeRecord::resting);
    Ok(ClusterRecord {
        stopped: BTreeSet::new(),
        resting: taken.resting.iter().cloned().chain(leaving).collect(),
        forwards: spec.forwards.clone(),
        format: FORMAT,
        generation: 0,
        phase: Phase::Starting,
        spec,
        accelerator,
        project,
        host,
        networks: Networks::try_from(networks).map_err(|e| anyhow!(e))?,
        nodes,
        snapshot: None,
        host_rebooted: false,
    })
}

/// Refuses to reserve an address that a node has.
fn check_unreserved(spec: &ClusterSpec, node: &NodeRecord) -> Result<()> {
    let taken = node.nics.iter().find(|nic| spec.is_reserved(nic.address));
    match taken {
        None => Ok(()),
        Some(nic) => bail!(
            "network.reserved holds {}, the address of {}; a node keeps its address for life",
            nic.address,
            node.name
        ),
    }
}

/// Refuses a bridge with the name of a tap or of another bridge.
fn check_names(networks: &[NetworkRecord], nodes: &[NodeRecord]) -> Result<()> {
    let taps = nodes.iter().flat_map(|n| &n.nics).map(|nic| &nic.tap);
    let mut names: HashSet<&String> = taps.collect();
    match networks.iter().find(|n| !names.insert(&n.bridge)) {
        None => Ok(()),
        Some(network) => bail!(
            "the bridge {} of network {} has the name of another link of this cluster; choose another name",
            network.bridge,
            network.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{picks, record, record_after, record_of, record_of_file};
    use crate::spec::{Key, Layer, Settings, Source, check};

    fn again(first: &ClusterRecord, spec: ClusterSpec) -> ClusterRecord {
        record_after(first, spec).unwrap()
    }

    #[test]
    fn all_nodes_differ_in_everything_that_must_be_unique() {
        let record = record();
        for (i, a) in record.nodes.iter().enumerate() {
            for b in record.nodes.iter().skip(i + 1) {
                assert!(a.uuid != b.uuid && a.uid != b.uid && a.machine_id != b.machine_id);
                for (a, b) in a.nics.iter().zip(&b.nics) {
                    assert!(a.mac != b.mac && a.address != b.address && a.tap != b.tap);
                }
            }
        }
    }

    #[test]
    fn a_node_keeps_its_record_when_others_join_and_leave() {
        let first = record();
        let mut spec = first.spec.clone();
        spec.roles[0].count += 1;
        spec.roles[1].count -= 1;
        let next = again(&first, spec);
        for node in first.nodes.iter().filter(|n| n.name != "worker2") {
            assert_eq!(next.node(&node.name).unwrap(), node);
        }
        assert!(next.node("worker2").is_err());
        // The address of a leaving node stays reserved while the node is in the record.
        let address = next.node("master3").unwrap().address();
        assert_eq!(address.to_string(), "192.168.80.9");
    }

    fn address(record: &ClusterRecord, node: &str) -> String {
        record.node(node).unwrap().address().to_string()
    }

    #[test]
    fn the_address_of_a_removed_node_rests_for_its_name() {
        let first = record();
        let mut spec = first.spec.clone();
        assert!(spec.roles[1].remove("worker1"));
        let mut next = again(&first, spec.clone());
        assert_eq!(address(&next, "worker2"), "192.168.80.7");
        assert_eq!(next.resting.len(), 1);
        // Other new nodes get other addresses, and the same name gets its own again.
        spec.roles[0].scale(4);
        next = again(&next, spec.clone());
        assert_eq!(address(&next, "master3"), "192.168.80.9");
        spec.roles[1].scale(4);
        let last = again(&next, spec);
        assert_eq!(address(&last, "worker1"), "192.168.80.6");
        assert_eq!(address(&last, "worker3"), "192.168.80.10");
        assert!(last.resting.is_empty());
        let mac = |record: &ClusterRecord| record.node("worker1").unwrap().nics[0].mac;
        assert_eq!(mac(&last), mac(&first));
    }

    #[test]
    fn a_resting_address_is_given_to_another_name_only_when_no_other_is_free() {
        let text =
            "[network]\nsubnet = \"192.168.80.0/29\"\n[roles.a]\ncount = 4\n[roles.b]\ncount = 0\n";
        let first = record_of_file(text);
        let mut spec = first.spec.clone();
        spec.roles[0].remove("a1");
        let mut next = again(&first, spec.clone());
        spec.roles[0].remove("a2");
        next = again(&next, spec.clone());
        spec.roles[1].scale(2);
        next = again(&next, spec.clone());
        assert_eq!(address(&next, "b0"), "192.168.80.6", "nobody had it");
        assert_eq!(address(&next, "b1"), "192.168.80.3", "it rests the longest");
        assert_eq!(next.resting.len(), 1);
        spec.roles[1].scale(3);
        next = again(&next, spec);
        assert_eq!(address(&next, "b2"), "192.168.80.4");
        assert!(next.resting.is_empty());
    }

    #[test]
    fn a_machine_changes_its_size_and_nothing_else() {
        let first = record();
        let mut spec = first.spec.clone();
        spec.roles[0].ram = crate::spec::Bytes::gib(1);
        spec.roles[0].disk = crate::spec::Bytes::gib(6);
        spec.roles[0].vcpus = 2;
        let next = again(&first, spec);
        let (before, after) = (&first.nodes[0], &next.nodes[0]);
        assert_eq!(
            (after.vcpus, after.ram.0, after.disk.0),
            (2, 1 << 30, 6 << 30)
        );
        let same = NodeRecord {
            vcpus: before.vcpus,
            ram: before.ram,
            disk: before.disk,
            ..after.clone()
        };
        assert_eq!(same, *before);
        assert_eq!(next.nodes[3..], first.nodes[3..]);
    }

    #[test]
    fn a_new_node_gets_no_address_that_is_reserved_or_in_use() {
        let mut spec = record().spec;
        spec.lan.reserved = vec!["192.168.80.4-192.168.80.6".parse().unwrap()];
        let first = record_of(spec.clone()).unwrap();
        let ends = |record: &ClusterRecord| -> Vec<u8> {
            let all = record.nodes.iter().map(|n| n.address().octets()[3]);
            all.collect()
        };
        assert_eq!(ends(&first), [2, 3, 7, 8, 9, 10, 11]);
        spec.roles[0].count += 1;
        let used = BTreeSet::from(["192.168.80.12".parse().unwrap()]);
        let next = compose(Design {
            picks: &picks(&spec),
            spec: spec.clone(),
            accelerator: first.accelerator.clone(),
            project: first.project.clone(),
            host: first.host.clone(),
            networks: first.networks().cloned().collect(),
            dir: Path::new("/s"),
            existing: &first.nodes,
            resting: &first.resting,
            in_use: &used,
        });
        assert_eq!(ends(&next.unwrap()), [2, 3, 7, 13, 8, 9, 10, 11]);
    }

    #[test]
    fn the_address_of_a_node_cannot_be_reserved() {
        let first = record();
        let mut spec = first.spec.clone();
        spec.lan.reserved = vec!["192.168.80.8".parse().unwrap()];
        let error = record_after(&first, spec).unwrap_err();
        assert_eq!(
            error.to_string(),
            "network.reserved holds 192.168.80.8, the address of lbl0; a node keeps its address for life"
        );
    }

    fn spec_with(networks: &str) -> ClusterSpec {
        let mut layer = Layer::default();
        let source = Source::Flag("--network".to_owned());
        layer.set_text(Key::cluster("networks"), networks, source);
        check(&Settings::resolve([layer])).unwrap()
    }

    #[test]
    fn a_bridge_with_a_taps_name_is_refused() {
        let spec = spec_with("name=a,subnet=10.81.0.0/24,bridge=k80-master0");
        let error = record_of(spec).unwrap_err().to_string();
        assert!(error.contains("k80-master0 of network a"), "{error}");
    }

    #[test]
    fn a_node_has_a_nic_in_each_network_and_no_two_nics_share_an_address() {
        let record = record_of(spec_with("name=storage,subnet=10.81.0.0/24,ipv6")).unwrap();
        let mut seen = HashSet::new();
        for network in record.networks() {
            assert!(network.bridge.len() <= 15 && seen.insert(network.bridge.clone()));
            assert!(seen.insert(network.mac.to_string()) && seen.insert(network.table.clone()));
        }
        for node in &record.nodes {
            assert_eq!(record.nics(node).count(), 2);
            for (network, nic) in record.nics(node) {
                assert!(network.subnet.contains(nic.address));
                assert!(nic.tap.len() <= 15, "{}", nic.tap);
                let things = [
                    nic.address.to_string(),
                    nic.mac.to_string(),
                    nic.tap.clone(),
                ];
                for thing in things {
                    assert!(seen.insert(thing.clone()), "{thing} twice");
                }
            }
        }
        let storage = record.networks().nth(1).unwrap();
        assert_eq!(storage.bridge, "k80--storage");
        let lbl0 = record.node("lbl0").unwrap().nic("storage").unwrap();
        assert_eq!(lbl0.address.to_string(), "10.81.0.8");
        let address = storage.address6(lbl0.mac).unwrap();
        assert!(storage.prefix6.unwrap().contains(address));
        assert_ne!(Some(address), storage.gateway6());
        assert_eq!(record.main().address6(lbl0.mac), None);
    }

    #[test]
    fn a_role_is_in_the_networks_that_it_names() {
        let record = record_of_file(
            "[[networks]]\nname = \"a\"\nsubnet = \"10.1.0.0/24\"\n[[networks]]\nname = \"b\"\nsubnet = \"10.2.0.0/24\"\n[roles.one]\nnetworks = [\"b\"]\n[roles.none]\nnetworks = []\n[roles.every]\n",
        );
        let networks = |node: &str| -> Vec<_> {
            let node = record.node(node).unwrap();
            node.nics.iter().map(|nic| nic.network.as_str()).collect()
        };
        assert_eq!(networks("one0"), ["main", "b"]);
        assert_eq!(networks("none0"), ["main"]);
        assert_eq!(networks("every0"), ["main", "a", "b"]);
        let b = record.node("every0").unwrap().nic("b").unwrap();
        assert_eq!(b.address.to_string(), "10.2.0.3");
    }
}

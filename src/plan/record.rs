//! Makes the record of a cluster from its specification, with everything that a node keeps for life.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use kvmc_images::Guest;
use kvmc_netns::MacAddr;

use crate::ids::{mac, random_id, uid, uuid};
use crate::image::Pick;
use crate::model::Accelerator;
use crate::network::tap_name;
use crate::spec::{ClusterSpec, RoleSpec};
use crate::state::{
    Base, ClusterRecord, FORMAT, HostRecord, NetworkRecord, Networks, NicRecord, NodeRecord, Phase,
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
    /// Existing nodes. Those that are still wanted stay unchanged.
    pub(crate) existing: &'a [NodeRecord],
    /// Addresses that somebody on a bridge uses.
    pub(crate) in_use: &'a BTreeSet<Ipv4Addr>,
}

/// The record of a new cluster, or of one that grows or shrinks.
///
/// # Errors
/// Fails if a role has no image, or if no address or id is free.
pub(crate) fn compose(design: Design<'_>) -> Result<ClusterRecord> {
    let Design {
        spec,
        picks,
        accelerator,
        project,
        host,
        networks,
        dir,
        existing,
        in_use,
    } = design;
    let mut taken = Taken::by(existing, &networks);
    taken.addresses.extend(in_use);
    let mut nodes = Vec::new();
    for (name, role) in spec.node_names() {
        if let Some(node) = existing.iter().find(|n| n.name == name) {
            check_unreserved(&spec, node)?;
            nodes.push(node.clone());
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
            nics: taken.nics(&spec, &networks, role, &name)?,
            base: Base::Image {
                image: pick.id.clone(),
            },
            seeded: pick.guest == Guest::CloudInit,
            name,
        });
    }
    check_names(&networks, &nodes)?;
    Ok(ClusterRecord {
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

/// The ids and addresses that nodes and networks have already.
struct Taken {
    addresses: HashSet<Ipv4Addr>,
    macs: HashSet<MacAddr>,
    uids: HashSet<u32>,
}

impl Taken {
    fn by(nodes: &[NodeRecord], networks: &[NetworkRecord]) -> Self {
        let nics = || nodes.iter().flat_map(|n| &n.nics);
        let bridges = networks.iter().map(|n| n.mac);
        Self {
            addresses: nics().map(|nic| nic.address).collect(),
            macs: nics().map(|nic| nic.mac).chain(bridges).collect(),
            uids: nodes.iter().map(|n| n.uid).collect(),
        }
    }

    /// A user id for a new node's QEMU.
    fn uid(&mut self, dir: &Path, node: &str) -> Result<u32> {
        let free = (0..1024)
            .map(|n| uid(dir, n))
            .find(|u| !self.uids.contains(u));
        let uid = free.with_context(|| format!("no user id is free for {node}"))?;
        self.uids.insert(uid);
        Ok(uid)
    }

    /// A new node's NICs, that in the main network first.
    fn nics(
        &mut self,
        spec: &ClusterSpec,
        networks: &[NetworkRecord],
        role: &RoleSpec,
        node: &str,
    ) -> Result<Vec<NicRecord>> {
        let mine = networks
            .iter()
            .filter(|n| n.is_main() || role.is_in(&n.name));
        mine.map(|network| self.nic(spec, network, node)).collect()
    }

    fn nic(
        &mut self,
        spec: &ClusterSpec,
        network: &NetworkRecord,
        node: &str,
    ) -> Result<NicRecord> {
        let subnet = network.subnet;
        let address = subnet
            .iter()
            .skip(2)
            .filter(|a| *a != subnet.broadcast() && !spec.is_reserved(*a))
            .find(|a| !self.addresses.contains(a))
            .with_context(|| format!("no address is free in {subnet} for {node}"))?;
        let thing = if network.is_main() {
            node.to_owned()
        } else {
            format!("{node} in {}", network.name)
        };
        let mac = (0..)
            .map(|n| mac(&spec.name, &thing, n))
            .find(|m| !self.macs.contains(m))
            .with_context(|| format!("no MAC address is free for {node}"))?;
        self.addresses.insert(address);
        self.macs.insert(mac);
        Ok(NicRecord {
            network: network.name.clone(),
            address,
            mac,
            tap: tap_name(&network.bridge, node),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{picks, record, record_of, record_of_file};
    use crate::spec::{Key, Layer, Settings, Source, check};

    fn again(first: &ClusterRecord, spec: ClusterSpec) -> ClusterRecord {
        compose(Design {
            picks: &picks(&spec),
            spec,
            accelerator: first.accelerator.clone(),
            project: first.project.clone(),
            host: first.host.clone(),
            networks: first.networks().cloned().collect(),
            dir: Path::new("/s"),
            existing: &first.nodes,
            in_use: &BTreeSet::new(),
        })
        .unwrap()
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
            in_use: &used,
        });
        assert_eq!(ends(&next.unwrap()), [2, 3, 7, 13, 8, 9, 10, 11]);
    }

    #[test]
    fn the_address_of_a_node_cannot_be_reserved() {
        let first = record();
        let mut spec = first.spec.clone();
        spec.lan.reserved = vec!["192.168.80.8".parse().unwrap()];
        let error = compose(Design {
            picks: &picks(&spec),
            spec,
            accelerator: first.accelerator.clone(),
            project: first.project.clone(),
            host: first.host.clone(),
            networks: first.networks().cloned().collect(),
            dir: Path::new("/s"),
            existing: &first.nodes,
            in_use: &BTreeSet::new(),
        })
        .unwrap_err();
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

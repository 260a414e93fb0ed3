//! Plans the steps from the seen state to the wanted one, without I/O. `--dry-run` prints the same plan that `up`
//! carries out.

mod record;

use std::collections::BTreeSet;
use std::fmt;

pub(crate) use record::{Design, compose};

use crate::network::forwarding::Family;
use crate::network::{NetworkState, rules};
use crate::spec::Forward;
use crate::state::{ClusterRecord, NodeRecord, Phase};
use crate::steps::{
    Accept, Bridge, Disk, Files, Folder, Forwarding, Forwards, KeeperProcess, Names, Node, Object,
    RecordFiles, Rules, Traces,
};

/// One step, with everything that it needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Make(Object),
    Remove(Object),
    /// Ask guests to power off, and force those that do not.
    Stop(Vec<NodeRecord>),
    /// Kill nodes whose data is removed anyway, and end the keeper.
    Kill(Vec<NodeRecord>),
    /// Record the phase that the cluster has reached.
    Enter(Phase),
}

impl Step {
    /// Whether the step is left out after an error. Steps that remove what another try needs are left out.
    pub(crate) const fn needs_all_before(&self) -> bool {
        matches!(
            self,
            Self::Enter(Phase::Stopped) | Self::Remove(Object::Folder(_))
        )
    }

    /// The node that the step starts.
    pub(crate) fn starts(&self) -> Option<&str> {
        match self {
            Self::Make(Object::Node(node)) => Some(&node.node),
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |nodes: &[NodeRecord]| {
            let names: Vec<_> = nodes.iter().map(|n| n.name.as_str()).collect();
            names.join(", ")
        };
        match self {
            Self::Make(object) => object.fmt(f),
            Self::Stop(nodes) => write!(f, "shut down {}", names(nodes)),
            Self::Kill(nodes) if nodes.is_empty() => f.write_str("end the keeper"),
            Self::Kill(nodes) => write!(f, "kill {} and end the keeper", names(nodes)),
            Self::Enter(Phase::Removing) => f.write_str("record that the cluster is being removed"),
            Self::Enter(phase) => write!(f, "record that the cluster is {}", phase.name()),
            Self::Remove(object) => match object {
                Object::Record(_) | Object::Files(_) => {
                    f.write_str("remove inventory, keys and ssh files")
                }
                Object::Forwarding(_) => f.write_str("switch forwarding off if it was off before"),
                Object::Bridge(bridge) => write!(f, "remove the bridge {}", bridge.network.bridge),
                Object::Rules(rules) => write!(f, "remove the nft table inet {}", rules.table.name),
                Object::Accept(_) => f.write_str("remove rules from other firewalls"),
                Object::Keeper(_) => f.write_str("end the keeper"),
                Object::Names(_) => f.write_str("remove the names from systemd-resolved"),
                Object::Forwards(_) => f.write_str("remove the forwards"),
                Object::Disk(disk) => write!(f, "remove the disk of {}", disk.node),
                Object::Node(node) => write!(f, "remove the sockets of {}", node.node),
                Object::Traces(traces) => write!(f, "remove {traces}"),
                Object::Folder(_) => f.write_str("remove the cluster's folder"),
            },
        }
    }
}

/// What exists already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The cluster has a record.
    pub(crate) exists: bool,
    /// The record on disk is the wanted one, and all secrets exist.
    pub(crate) recorded: bool,
    /// Files for Ansible and ssh that are missing or outdated.
    pub(crate) lost_files: Vec<&'static str>,
    pub(crate) network: NetworkState,
    pub(crate) keeper: bool,
    /// systemd-resolved runs, but does not know the cluster's names.
    pub(crate) names_untold: bool,
    /// The forwards that the keeper serves.
    pub(crate) forwards: Vec<Forward>,
    pub(crate) disks: BTreeSet<String>,
    pub(crate) running: BTreeSet<String>,
    /// Recorded nodes that are not wanted any more.
    pub(crate) surplus: Vec<NodeRecord>,
}

/// The steps of `up` and `start` from `seen` to all nodes of `wanted` running, also when the cluster grows or shrinks.
pub(crate) fn up(wanted: &ClusterRecord, seen: &Seen) -> Vec<Step> {
    // Removed nodes stay in the record until nothing of them is left.
    let mut steps = shrink(&seen.surplus);
    let mut unless = |there: bool, object: Object| {
        if !there {
            steps.push(Step::Make(object));
        }
    };
    let is_new = !seen.exists;
    unless(seen.recorded, Object::Record(RecordFiles { is_new }));
    if seen.recorded {
        let names = seen.lost_files.clone();
        let folder = wanted.project.clone();
        unless(names.is_empty(), Object::Files(Files { folder, names }));
    }
    for (there, family) in [
        (seen.network.forwarding, Family::V4),
        (seen.network.forwarding6, Family::V6),
    ] {
        unless(there, Object::Forwarding(Forwarding { family }));
    }
    for network in wanted.networks() {
        let is_there = seen.network.bridges.contains(&network.bridge);
        let network = network.clone();
        let table = rules::table(wanted, &network);
        let is_whole = !seen.network.lost_tables.contains(&table.name);
        unless(
            is_there,
            Object::Bridge(Bridge {
                network: network.clone(),
                is_served: seen.keeper,
            }),
        );
        unless(is_whole, Object::Rules(Rules { network, table }));
    }
    for accept in &seen.network.accepts {
        let accept = Some(accept.clone());
        unless(false, Object::Accept(Accept { accept }));
    }
    unless(seen.keeper, Object::Keeper(KeeperProcess));
    unless(!seen.names_untold, Object::Names(names(wanted)));
    let forwards = wanted.forwards.clone();
    let are_served = seen.forwards == forwards;
    unless(are_served, Object::Forwards(Forwards { forwards }));
    for node in &wanted.nodes {
        let node = node.name.clone();
        let (has_disk, runs) = (seen.disks.contains(&node), seen.running.contains(&node));
        unless(has_disk, Object::Disk(Disk { node: node.clone() }));
        unless(runs, Object::Node(Node { node }));
    }
    steps
}

/// Removes nodes without a change to the network or other nodes.
fn shrink(surplus: &[NodeRecord]) -> Vec<Step> {
    if surplus.is_empty() {
        return Vec::new();
    }
    let objects = |node: &NodeRecord| {
        let node = node.name.clone();
        [
            Step::Remove(Object::Node(Node { node: node.clone() })),
            Step::Remove(Object::Disk(Disk { node })),
        ]
    };
    std::iter::once(Step::Stop(surplus.to_vec()))
        .chain(surplus.iter().flat_map(objects))
        .collect()
}

/// Stops all nodes, and removes everything except files.
pub(crate) fn stop(record: &ClusterRecord) -> Vec<Step> {
    let mut steps = vec![
        Step::Stop(record.nodes.clone()),
        Step::Remove(Object::Keeper(KeeperProcess)),
    ];
    steps.extend(record.nodes.iter().map(|node| {
        let node = node.name.clone();
        Step::Remove(Object::Node(Node { node }))
    }));
    steps.extend(without_network(record));
    // This comes after the record is written. If two clusters stop at once, the later one sees that no cluster needs
    // forwarding.
    steps.push(Step::Enter(Phase::Stopped));
    steps.push(release_forwarding());
    steps
}

/// Removes everything. What is needed to find the rest goes last. Guests are not asked to power off, because their
/// data is removed too.
pub(crate) fn down(record: Option<&ClusterRecord>, traces: Traces) -> Vec<Step> {
    let mut steps = Vec::new();
    if record.is_some() {
        steps.push(Step::Enter(Phase::Removing));
    }
    let nodes = record.map(|r| r.nodes.clone()).unwrap_or_default();
    steps.push(Step::Kill(nodes));
    if let Some(record) = record {
        steps.extend(without_network(record));
    }
    steps.push(Step::Remove(Object::Traces(traces)));
    steps.push(release_forwarding());
    let files = RecordFiles { is_new: false };
    steps.push(Step::Remove(Object::Record(files)));
    steps.push(Step::Remove(Object::Folder(Folder)));
    steps
}

fn without_network(record: &ClusterRecord) -> Vec<Step> {
    let mut objects = vec![
        Object::Accept(Accept { accept: None }),
        Object::Names(names(record)),
    ];
    for network in record.networks() {
        let table = rules::table(record, network);
        let network = network.clone();
        objects.push(Object::Rules(Rules {
            network: network.clone(),
            table,
        }));
        let is_served = false;
        objects.push(Object::Bridge(Bridge { network, is_served }));
    }
    objects.into_iter().map(Step::Remove).collect()
}

/// Releases forwarding for both IP versions, because they share a file.
const fn release_forwarding() -> Step {
    Step::Remove(Object::Forwarding(Forwarding { family: Family::V4 }))
}

fn names(record: &ClusterRecord) -> Names {
    Names {
        bridge: record.main().bridge.clone(),
        domain: record.spec.domain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record;

    fn texts(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    /// Everything of a cluster exists and runs.
    fn all_of(wanted: &ClusterRecord) -> Seen {
        let names: BTreeSet<_> = wanted.nodes.iter().map(|n| n.name.clone()).collect();
        Seen {
            exists: true,
            recorded: true,
            network: NetworkState {
                forwarding: true,
                forwarding6: true,
                bridges: wanted.networks().map(|n| n.bridge.clone()).collect(),
                ..NetworkState::default()
            },
            keeper: true,
            disks: names.clone(),
            running: names,
            ..Seen::default()
        }
    }

    #[test]
    fn a_new_cluster_is_made_in_order() {
        let seen = Seen {
            network: NetworkState {
                forwarding6: true,
                lost_tables: vec!["kvmc_k80".to_owned()],
                ..NetworkState::default()
            },
            ..Seen::default()
        };
        let steps = texts(&up(&record(), &seen));
        assert_eq!(
            steps[..6],
            [
                "write the record, the keys, inventory, ssh_config and known_hosts",
                "switch on net.ipv4.ip_forward",
                "create the bridge k80 with 192.168.80.1/24",
                "apply the nft table inet kvmc_k80",
                "start the keeper (DHCP, DNS)",
                "clone the disk of master0",
            ]
        );
        assert_eq!(steps.len(), 5 + 2 * 7);
    }

    #[test]
    fn a_complete_cluster_needs_no_step_and_a_dead_node_needs_one() {
        let wanted = record();
        let mut seen = all_of(&wanted);
        assert!(up(&wanted, &seen).is_empty());
        seen.running.remove("worker1");
        assert_eq!(texts(&up(&wanted, &seen)), ["start worker1"]);
        seen.running.insert("worker1".to_owned());
        seen.lost_files = vec!["inventory", "id_rsa"];
        let restored = texts(&up(&wanted, &seen));
        assert_eq!(restored, ["restore inventory, id_rsa in /project"]);
    }

    #[test]
    fn removed_nodes_leave_the_record_last() {
        let mut wanted = record();
        let mut seen = all_of(&wanted);
        seen.recorded = false;
        seen.surplus = wanted.nodes.split_off(5);
        assert_eq!(
            texts(&up(&wanted, &seen)),
            [
                "shut down worker2, lbl0",
                "remove the sockets of worker2",
                "remove the disk of worker2",
                "remove the sockets of lbl0",
                "remove the disk of lbl0",
                "write the record, the keys, inventory, ssh_config and known_hosts",
            ]
        );
    }

    #[test]
    fn a_stop_ends_nodes_before_their_network_and_is_recorded_before_forwarding() {
        let steps = stop(&record());
        assert!(matches!(&steps[0], Step::Stop(nodes) if nodes.len() == 7));
        let told = texts(&steps);
        assert_eq!(
            told[told.len() - 6..],
            [
                "remove rules from other firewalls",
                "remove the names from systemd-resolved",
                "remove the nft table inet kvmc_k80",
                "remove the bridge k80",
                "record that the cluster is stopped",
                "switch forwarding off if it was off before",
            ]
        );
        let late: Vec<_> = steps.iter().filter(|s| s.needs_all_before()).collect();
        assert_eq!(late, [&Step::Enter(Phase::Stopped)]);
    }

    #[test]
    fn a_removal_ends_with_the_folder_and_needs_no_record() {
        let with = texts(&down(Some(&record()), Traces::default()));
        assert_eq!(with[0], "record that the cluster is being removed");
        let without = down(None, Traces::default());
        let told = texts(&without);
        assert_eq!(told.first().unwrap(), "end the keeper");
        assert_eq!(told.last().unwrap(), "remove the cluster's folder");
        assert!(without.last().unwrap().needs_all_before());
    }
}

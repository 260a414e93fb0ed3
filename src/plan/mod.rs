//! From what is wanted and what is seen to the steps between them. Pure; the plan that `--dry-run`
//! prints is the one that is carried out.

mod record;

use std::collections::BTreeSet;
use std::fmt;

pub(crate) use record::{Design, compose};

use crate::network::forwarding::Family;
use crate::network::{NetworkState, rules};
use crate::spec::Forward;
use crate::state::{ClusterRecord, NodeRecord, Phase};
use crate::steps::{
    Accept, Bridge, Disk, Folder, Forwarding, Forwards, KeeperProcess, Names, Node, Object,
    RecordFiles, Rules, Traces,
};

/// One step, with all that it needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Make(Object),
    Remove(Object),
    /// Ask the guests to power off, and make those that do not.
    Stop(Vec<NodeRecord>),
    /// End nodes whose data goes anyway, and the keeper with them.
    Kill(Vec<NodeRecord>),
    /// Write down how far the cluster's life has got.
    Enter(Phase),
}

impl Step {
    /// It is left out when a step before it went wrong: what is needed to try again must stay.
    pub(crate) const fn needs_all_before(&self) -> bool {
        matches!(
            self,
            Self::Enter(Phase::Stopped) | Self::Remove(Object::Folder(_))
        )
    }

    /// The node that it starts.
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
            Self::Kill(nodes) => write!(f, "end {} and the keeper", names(nodes)),
            Self::Enter(Phase::Removing) => {
                f.write_str("write down that the cluster is being removed")
            }
            Self::Enter(phase) => write!(f, "write down that the cluster is {}", phase.name()),
            Self::Remove(object) => match object {
                Object::Record(_) => f.write_str("remove inventory, keys and ssh files"),
                Object::Forwarding(_) => f.write_str("switch forwarding off if it was"),
                Object::Bridge(bridge) => write!(f, "remove the bridge {}", bridge.network.bridge),
                Object::Rules(rules) => write!(f, "remove the nft table inet {}", rules.table.name),
                Object::Accept(_) => f.write_str("take rules out of other firewalls"),
                Object::Keeper(_) => f.write_str("end the keeper"),
                Object::Names(_) => f.write_str("have systemd-resolved forget the names"),
                Object::Forwards(_) => f.write_str("remove the forwards"),
                Object::Disk(disk) => write!(f, "remove the disk of {}", disk.node),
                Object::Node(node) => write!(f, "remove the sockets of {}", node.node),
                Object::Traces(traces) => write!(f, "remove {traces}"),
                Object::Folder(_) => f.write_str("remove the cluster's folder"),
            },
        }
    }
}

/// What is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// There is a record of the cluster.
    pub(crate) exists: bool,
    /// The record on disk is the one wanted, and the secrets are all there.
    pub(crate) recorded: bool,
    pub(crate) network: NetworkState,
    pub(crate) keeper: bool,
    /// systemd-resolved is there, and not told of the cluster's names.
    pub(crate) names_untold: bool,
    /// What the keeper forwards.
    pub(crate) forwards: Vec<Forward>,
    pub(crate) disks: BTreeSet<String>,
    pub(crate) running: BTreeSet<String>,
    /// Nodes of the record that are not wanted any more.
    pub(crate) surplus: Vec<NodeRecord>,
}

/// The steps from `seen` to all of `wanted` running: of `up` and `start`, of growing and shrinking.
pub(crate) fn up(wanted: &ClusterRecord, seen: &Seen) -> Vec<Step> {
    // Those that go are on record until nothing of them is left.
    let mut steps = shrink(&seen.surplus);
    let mut unless = |there: bool, object: Object| {
        if !there {
            steps.push(Step::Make(object));
        }
    };
    let is_new = !seen.exists;
    unless(seen.recorded, Object::Record(RecordFiles { is_new }));
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

/// Nodes that go, the network and the others untouched.
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

/// All nodes down, and nothing left of the cluster but files.
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
    // After the record says so: of two that stop at once the later one sees that nobody needs it.
    steps.push(Step::Enter(Phase::Stopped));
    steps.push(release_forwarding());
    steps
}

/// Nothing left, in an order in which what is needed to find the rest goes last. The guests' data goes with it, so
/// they are not asked to shut down.
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
        objects.push(Object::Bridge(Bridge { network }));
    }
    objects.into_iter().map(Step::Remove).collect()
}

/// Both families at once: what was switched on for either is in one place.
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

    /// All of a cluster there and running.
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
    fn from_nothing_everything_is_made_in_order() {
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
                "switch net.ipv4.ip_forward on",
                "create the bridge k80 with 192.168.80.1/24",
                "apply the nft table inet kvmc_k80",
                "start the keeper (DHCP, DNS)",
                "clone the disk of master0",
            ]
        );
        assert_eq!(steps.len(), 5 + 2 * 7);
    }

    #[test]
    fn with_all_there_nothing_is_done_and_one_dead_node_is_one_step() {
        let wanted = record();
        let mut seen = all_of(&wanted);
        assert!(up(&wanted, &seen).is_empty());
        seen.running.remove("worker1");
        assert_eq!(texts(&up(&wanted, &seen)), ["start worker1"]);
    }

    #[test]
    fn nodes_that_go_are_gone_before_the_record_forgets_them() {
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
    fn a_stop_ends_nodes_before_what_they_need_and_is_recorded_when_all_is_gone() {
        let steps = stop(&record());
        assert!(matches!(&steps[0], Step::Stop(nodes) if nodes.len() == 7));
        let told = texts(&steps);
        assert_eq!(
            told[told.len() - 6..],
            [
                "take rules out of other firewalls",
                "have systemd-resolved forget the names",
                "remove the nft table inet kvmc_k80",
                "remove the bridge k80",
                "write down that the cluster is stopped",
                "switch forwarding off if it was",
            ]
        );
        let late: Vec<_> = steps.iter().filter(|s| s.needs_all_before()).collect();
        assert_eq!(late, [&Step::Enter(Phase::Stopped)]);
    }

    #[test]
    fn a_removal_keeps_the_folder_for_last_and_needs_no_record() {
        let with = texts(&down(Some(&record()), Traces::default()));
        assert_eq!(with[0], "write down that the cluster is being removed");
        let without = down(None, Traces::default());
        let told = texts(&without);
        assert_eq!(told.first().unwrap(), "end  and the keeper");
        assert_eq!(told.last().unwrap(), "remove the cluster's folder");
        assert!(without.last().unwrap().needs_all_before());
    }
}

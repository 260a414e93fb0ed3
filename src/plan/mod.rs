//! Plans the steps from the seen state to the wanted one, without I/O. `--dry-run` prints the same plan that `up`
//! carries out.

mod changes;
mod disks;
mod given;
mod record;
mod scope;
mod step;
mod taken;

use std::collections::BTreeSet;

pub(crate) use changes::{node_changes, setting_changes};
pub(crate) use record::{Design, compose};
pub(crate) use scope::Scope;
pub(crate) use step::Step;

use crate::network::forwarding::Family;
use crate::network::{NetworkState, rules};
use crate::spec::Forward;
use crate::state::{ClusterRecord, NodeRecord, Phase};
use crate::steps::{
    Accept, Bridge, Disk, Files, Folder, Forwarding, Forwards, Growth, KeeperProcess, Names, Node,
    Object, Outlet, RecordFiles, Rules, SystemdScope, Traces,
};

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
    /// The cluster is a fork, and its way out is missing or incomplete.
    pub(crate) lacks_outlet: bool,
    pub(crate) keeper: bool,
    /// The scope that what starts now has to enter.
    pub(crate) systemd_scope: Option<SystemdScope>,
    /// systemd-resolved runs, but does not know the cluster's names.
    pub(crate) names_untold: bool,
    /// The forwards that the keeper serves.
    pub(crate) forwards: Vec<Forward>,
    pub(crate) disks: BTreeSet<String>,
    pub(crate) running: BTreeSet<String>,
    /// Nodes that run, or ended by themselves.
    pub(crate) begun: BTreeSet<String>,
    /// Running nodes whose disks are smaller than recorded.
    pub(crate) growing: BTreeSet<String>,
    /// Recorded nodes that are not wanted any more.
    pub(crate) surplus: Vec<NodeRecord>,
}

/// The steps of `up` and `start` from `seen` to `wanted`, also when the cluster grows or shrinks. The nodes in `scope`
/// run afterwards.
pub(crate) fn up(wanted: &ClusterRecord, seen: &Seen, scope: &Scope) -> Vec<Step> {
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
    unless(!seen.lacks_outlet, Object::Outlet(Outlet));
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
        unless(is_whole, Object::Rules(Box::new(Rules { network, table })));
    }
    for accept in &seen.network.accepts {
        let accept = Some(accept.clone());
        unless(false, Object::Accept(Accept { accept }));
    }
    let takes = |node: &&NodeRecord| scope.takes(&node.name, &wanted.stopped, &seen.begun);
    let mut nodes = wanted.nodes.iter().filter(takes);
    let starts_nothing = seen.keeper && nodes.all(|n| seen.running.contains(&n.name));
    if let Some(entered) = &seen.systemd_scope {
        unless(starts_nothing, Object::Scope(entered.clone()));
    }
    unless(seen.keeper, Object::Keeper(KeeperProcess));
    unless(!seen.names_untold, Object::Names(names(wanted)));
    let forwards = wanted.forwards.clone();
    let are_served = seen.forwards == forwards;
    unless(are_served, Object::Forwards(Forwards { forwards }));
    for node in wanted.nodes.iter().filter(takes) {
        let node = node.name.clone();
        let (has_disk, runs) = (seen.disks.contains(&node), seen.running.contains(&node));
        unless(has_disk, Object::Disk(Disk { node: node.clone() }));
        unless(runs, Object::Node(Node { node }));
    }
    // A node that starts takes its disk's size by itself.
    for node in wanted
        .nodes
        .iter()
        .filter(|n| seen.growing.contains(&n.name))
    {
        unless(
            false,
            Object::Growth(Growth {
                node: node.name.clone(),
                size: node.disk,
            }),
        );
    }
    steps
}

/// Removes nodes without a change to the network or other nodes. The record says so first, so that whatever verb comes
/// after a kill removes the rest.
pub(crate) fn shrink(surplus: &[NodeRecord]) -> Vec<Step> {
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
    let first = [Step::Leave(surplus.to_vec()), Step::Stop(surplus.to_vec())];
    let last = Step::Forget(surplus.to_vec());
    let removed = surplus.iter().flat_map(objects);
    first.into_iter().chain(removed).chain([last]).collect()
}

/// Stops some nodes, and leaves the rest of the cluster alone.
pub(crate) fn stop_nodes(nodes: &[NodeRecord]) -> Vec<Step> {
    let sockets = nodes.iter().map(|node| {
        let node = node.name.clone();
        Step::Remove(Object::Node(Node { node }))
    });
    std::iter::once(Step::Stop(nodes.to_vec()))
        .chain(sockets)
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
    let is_fork = record.host.fork.is_some();
    let mut objects: Vec<_> = is_fork
        .then_some(Object::Outlet(Outlet))
        .into_iter()
        .collect();
    objects.extend([
        Object::Accept(Accept { accept: None }),
        Object::Names(names(record)),
    ]);
    for network in record.networks() {
        let table = rules::table(record, network);
        let network = network.clone();
        objects.push(Object::Rules(Box::new(Rules {
            network: network.clone(),
            table,
        })));
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
            begun: names.clone(),
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
        let steps = texts(&up(&record(), &seen, &Scope::All));
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
        assert!(up(&wanted, &seen, &Scope::All).is_empty());
        seen.running.remove("worker1");
        assert_eq!(texts(&up(&wanted, &seen, &Scope::All)), ["start worker1"]);
        let unit = "kvmc-k80-01234567.scope".to_owned();
        seen.systemd_scope = Some(SystemdScope { unit });
        assert_eq!(
            texts(&up(&wanted, &seen, &Scope::All)),
            [
                "put keeper and nodes into systemd's kvmc-k80-01234567.scope",
                "start worker1"
            ]
        );
        seen.running.insert("worker1".to_owned());
        assert!(up(&wanted, &seen, &Scope::All).is_empty());
        seen.lost_files = vec!["inventory", "id_rsa"];
        let restored = texts(&up(&wanted, &seen, &Scope::All));
        assert_eq!(restored, ["restore inventory, id_rsa in /project"]);
    }

    #[test]
    fn removed_nodes_leave_the_record_last() {
        let mut wanted = record();
        let mut seen = all_of(&wanted);
        seen.recorded = false;
        seen.surplus = wanted.nodes.split_off(5);
        assert_eq!(
            texts(&up(&wanted, &seen, &Scope::All)),
            [
                "record that worker2, lbl0 leave the cluster",
                "shut down worker2, lbl0",
                "remove the sockets of worker2",
                "remove the disk of worker2",
                "remove the sockets of lbl0",
                "remove the disk of lbl0",
                "take worker2, lbl0 out of the record",
                "write the record, the keys, inventory, ssh_config and known_hosts",
            ]
        );
    }

    #[test]
    fn only_the_nodes_in_scope_start() {
        let mut wanted = record();
        let mut seen = all_of(&wanted);
        // worker0 ended by itself, worker1 was stopped by name, worker2 is new.
        for name in ["worker0", "worker1", "worker2"] {
            seen.running.remove(name);
        }
        wanted.stopped = BTreeSet::from(["worker1".to_owned()]);
        seen.begun.remove("worker1");
        seen.begun.remove("worker2");
        seen.disks.remove("worker2");
        let plan = |scope: &Scope| texts(&up(&wanted, &seen, scope));
        assert_eq!(
            plan(&Scope::New),
            ["clone the disk of worker2", "start worker2"]
        );
        let named = Scope::Nodes(BTreeSet::from(["worker1".to_owned()]));
        assert_eq!(plan(&named), ["start worker1"]);
        assert_eq!(plan(&Scope::All).len(), 4);
    }

    #[test]
    fn a_disk_grows_once_all_nodes_have_started() {
        let wanted = record();
        let mut seen = all_of(&wanted);
        seen.growing.insert("master0".to_owned());
        seen.running.remove("lbl0");
        assert_eq!(
            texts(&up(&wanted, &seen, &Scope::All)),
            ["start lbl0", "grow the disk of master0 to 4G"]
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

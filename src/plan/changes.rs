//! What a plan changes, setting by setting and node by node.

use super::{Seen, Step};
use crate::model::{Effect, NodeChange, SettingChange};
use crate::spec::{Bytes, Change, ClusterSpec, Value};
use crate::state::{ClusterRecord, NodeRecord};

/// The settings that differ. `source` tells where a requested value came from.
pub(crate) fn setting_changes(
    before: &ClusterSpec,
    wanted: &ClusterSpec,
    source: impl Fn(&crate::spec::Key) -> Option<String>,
) -> Vec<SettingChange> {
    let text = |value: Option<Value>| value.filter(|v| !v.is_empty()).map(|v| v.to_string());
    let differences = before.differences(wanted).into_iter();
    differences
        .map(|d| SettingChange {
            source: source(&d.key),
            key: d.key.to_string(),
            before: text(d.before),
            after: text(d.after),
            effect: match d.change {
                Change::NextStart => Effect::NextStart,
                Change::Live | Change::Never => Effect::Live,
            },
        })
        .collect()
}

/// The nodes that come, go, start or change, in the cluster's order; those that go first.
pub(crate) fn node_changes(
    wanted: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    seen: &Seen,
    steps: &[Step],
) -> Vec<NodeChange> {
    let going = seen.surplus.iter().map(|node| NodeChange {
        node: node.name.clone(),
        what: node.address().to_string(),
        effects: vec![Effect::RemovesNode, Effect::LosesData],
    });
    let starts = |name: &str| steps.iter().any(|s| s.starts() == Some(name));
    let mut all: Vec<_> = going.collect();
    for node in &wanted.nodes {
        let Some(before) = existing.and_then(|r| r.node(&node.name).ok()) else {
            all.push(NodeChange {
                node: node.name.clone(),
                what: format!(
                    "{}, {} {}, {} RAM, {} disk",
                    node.address(),
                    node.vcpus,
                    if node.vcpus == 1 { "vcpu" } else { "vcpus" },
                    node.ram,
                    node.disk
                ),
                effects: vec![Effect::NewNode],
            });
            continue;
        };
        let mut add = |what: String, effect| {
            all.push(NodeChange {
                node: node.name.clone(),
                what,
                effects: vec![effect],
            });
        };
        for what in machine(before, node) {
            add(what, Effect::NextStart);
        }
        let grows_live = seen.growing.contains(&node.name) || seen.running.contains(&node.name);
        if before.disk != node.disk || seen.growing.contains(&node.name) {
            let effect = match grows_live && !node.seeded {
                true => Effect::Live,
                false => Effect::NextStart,
            };
            add(from_to("disk", before.disk, node.disk), effect);
        }
        if starts(&node.name) {
            add("starts".to_owned(), Effect::Live);
        }
    }
    all
}

/// The changes of a machine that need its next start.
fn machine(before: &NodeRecord, after: &NodeRecord) -> Vec<String> {
    let mut all = Vec::new();
    if before.vcpus != after.vcpus {
        all.push(format!("vcpus {} -> {}", before.vcpus, after.vcpus));
    }
    if before.ram != after.ram {
        all.push(from_to("RAM", before.ram, after.ram));
    }
    all
}

fn from_to(what: &str, before: Bytes, after: Bytes) -> String {
    match before == after {
        true => format!("{what} to {after}"),
        false => format!("{what} {before} -> {after}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Scope, up};
    use super::*;
    use crate::network::NetworkState;
    use crate::samples::{record_after, record_of};
    use crate::spec::{Settings, check};

    fn next(first: &ClusterRecord, spec: ClusterSpec) -> ClusterRecord {
        record_after(first, spec).unwrap()
    }

    /// Everything of `there` exists and runs, and `wanted` is what is asked for.
    fn seen(there: &ClusterRecord, wanted: &ClusterRecord) -> Seen {
        let names: BTreeSet<_> = there.nodes.iter().map(|n| n.name.clone()).collect();
        let is_wanted = |n: &&NodeRecord| wanted.node(&n.name).is_ok();
        let smaller = |n: &&NodeRecord| wanted.node(&n.name).is_ok_and(|w| n.disk < w.disk);
        Seen {
            exists: true,
            recorded: there.nodes == wanted.nodes && there.spec == wanted.spec,
            network: NetworkState {
                forwarding: true,
                forwarding6: true,
                bridges: wanted.networks().map(|n| n.bridge.clone()).collect(),
                ..NetworkState::default()
            },
            keeper: true,
            disks: names.clone(),
            begun: names.clone(),
            growing: there
                .nodes
                .iter()
                .filter(smaller)
                .map(|n| n.name.clone())
                .collect(),
            surplus: there
                .nodes
                .iter()
                .filter(|n| !is_wanted(n))
                .cloned()
                .collect(),
            running: names,
            forwards: wanted.forwards.clone(),
            ..Seen::default()
        }
    }

    type Told = (Vec<SettingChange>, Vec<NodeChange>, usize);

    /// What a plan from one record to the next says, and the number of its steps.
    fn told(there: &ClusterRecord, wanted: &ClusterRecord) -> Told {
        let seen = seen(there, wanted);
        let steps = up(wanted, &seen, &Scope::All);
        (
            setting_changes(&there.spec, &wanted.spec, |_| None),
            node_changes(wanted, Some(there), &seen, &steps),
            steps.len(),
        )
    }

    /// A change of a default cluster: counts, removed nodes, RAM of masters, disk.
    fn change() -> impl Strategy<Value = ([u32; 3], Vec<String>, u64, u64)> {
        let node = "(master|worker|lbl)[0-4]";
        (
            [1_u32..6, 0..6, 0..4],
            proptest::collection::vec(node, 0..3),
            1_u64..5,
            4_u64..9,
        )
    }

    fn changed(spec: &ClusterSpec, change: &([u32; 3], Vec<String>, u64, u64)) -> ClusterSpec {
        let (counts, removed, ram, disk) = change;
        let mut spec = spec.clone();
        for (role, count) in spec.roles.iter_mut().zip(counts) {
            role.scale(*count);
            for name in removed {
                if role.count > 1 {
                    role.remove(name);
                }
            }
            role.disk = Bytes::gib(*disk).max(role.disk);
        }
        spec.roles[0].ram = Bytes::gib(*ram);
        spec
    }

    proptest! {
        #[test]
        fn after_a_plan_is_carried_out_the_next_one_is_empty(one in change(), two in change()) {
            let default = check(&Settings::resolve([])).unwrap();
            let first = record_of(changed(&default, &one)).unwrap();
            let wanted = next(&first, changed(&first.spec, &two));
            let (settings, nodes, steps) = told(&first, &wanted);
            prop_assert_eq!(settings.is_empty() && nodes.is_empty(), steps == 0);
            // The settings of the cluster as it is now give the same cluster.
            let spec = check(&Settings::resolve([wanted.spec.layer()])).unwrap();
            let again = next(&wanted, spec);
            prop_assert_eq!(&again.nodes, &wanted.nodes);
            prop_assert_eq!(told(&wanted, &again), (Vec::new(), Vec::new(), 0));
            // The nodes that stay keep their addresses.
            for node in &wanted.nodes {
                if let Ok(before) = first.node(&node.name) {
                    prop_assert_eq!(&before.nics, &node.nics);
                }
            }
        }
    }

    #[test]
    fn each_change_is_told_with_its_effect() {
        let first = record_of(check(&Settings::resolve([])).unwrap()).unwrap();
        let mut spec = first.spec.clone();
        spec.roles[0].ram = Bytes::gib(1);
        spec.roles[1].scale(4);
        spec.roles[2].scale(0);
        spec.roles[1].disk = Bytes::gib(6);
        let wanted = next(&first, spec);
        let (settings, nodes, _) = told(&first, &wanted);
        let settings: Vec<_> = settings
            .iter()
            .map(|s| {
                format!(
                    "{} {:?} {:?} {}",
                    s.key,
                    s.before,
                    s.after,
                    s.effect.words()
                )
            })
            .collect();
        assert_eq!(
            settings,
            [
                "load_balancers Some(\"1\") Some(\"0\") live",
                "master_ram Some(\"2G\") Some(\"1G\") at the next start",
                "workers Some(\"3\") Some(\"4\") live",
                "roles.workers.disk Some(\"4G\") Some(\"6G\") live",
            ]
        );
        let nodes: Vec<_> = nodes
            .iter()
            .map(|n| {
                let effects: Vec<_> = n.effects.iter().map(|e| e.words()).collect();
                format!("{}: {}: {}", n.node, n.what, effects.join(", "))
            })
            .collect();
        assert_eq!(
            nodes,
            [
                "lbl0: 192.168.80.8: removes a node, loses data",
                "master0: RAM 2G -> 1G: at the next start",
                "master1: RAM 2G -> 1G: at the next start",
                "master2: RAM 2G -> 1G: at the next start",
                "worker0: disk 4G -> 6G: live",
                "worker1: disk 4G -> 6G: live",
                "worker2: disk 4G -> 6G: live",
                "worker3: 192.168.80.9, 4 vcpus, 4G RAM, 6G disk: new node",
            ]
        );
    }
}

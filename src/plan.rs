//! From what is wanted and what is seen to the steps between them. Pure; the plan that `--dry-run`
//! prints is the one that is carried out.

use std::collections::BTreeSet;
use std::fmt;

use kvmc_netns::firewall::{Accept, Obstacle};

use crate::spec::{Forward, join_forwards};
use crate::state::ClusterRecord;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write the record, the secrets, and the files for Ansible and ssh.
    Record,
    EnableForwarding,
    EnableForwarding6,
    CreateBridge {
        name: String,
        address: String,
    },
    ApplyNat {
        table: String,
    },
    /// Let a bridge's packets through the firewall of another.
    Accept(Accept),
    StartKeeper,
    /// Have the host's systemd-resolved ask for the cluster's names.
    NamesOnHost {
        bridge: String,
        domain: String,
    },
    Forward {
        forwards: String,
    },
    CloneDisk {
        node: String,
    },
    StartNode {
        node: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => write!(
                f,
                "write the record, the keys, inventory, ssh_config and known_hosts"
            ),
            Self::EnableForwarding => write!(f, "switch net.ipv4.ip_forward on"),
            Self::EnableForwarding6 => write!(
                f,
                "switch net.ipv6.conf.all.forwarding on (links that follow router advertisements go on to)"
            ),
            Self::CreateBridge { name, address } => {
                write!(f, "create the bridge {name} with {address}")
            }
            Self::ApplyNat { table } => write!(f, "apply the nft table inet {table}"),
            Self::Accept(accept) => write!(f, "let the nodes' packets through in {accept}"),
            Self::StartKeeper => write!(f, "start the keeper (DHCP, DNS)"),
            Self::Forward { forwards } => write!(f, "forward {forwards}"),
            Self::NamesOnHost { bridge, domain } => write!(
                f,
                "have systemd-resolved ask for names in {domain} on {bridge}"
            ),
            Self::CloneDisk { node } => write!(f, "clone the disk of {node}"),
            Self::StartNode { node } => write!(f, "start {node}"),
        }
    }
}

/// What is there already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The record on disk is the one wanted, and the secrets are all there.
    pub(crate) recorded: bool,
    pub(crate) forwarding: bool,
    /// Also true when no network has IPv6.
    pub(crate) forwarding6: bool,
    /// Bridges that are as they shall be.
    pub(crate) bridges: BTreeSet<String>,
    /// nft tables.
    pub(crate) tables: BTreeSet<String>,
    /// What others' firewalls still need.
    pub(crate) accepts: Vec<Accept>,
    /// What in them is in the way and asks for a person; no step undoes it.
    pub(crate) obstacles: Vec<Obstacle>,
    pub(crate) keeper: bool,
    /// systemd-resolved is there, and not told of the cluster's names.
    pub(crate) names_untold: bool,
    /// What the keeper forwards.
    pub(crate) forwards: Vec<Forward>,
    pub(crate) disks: BTreeSet<String>,
    pub(crate) running: BTreeSet<String>,
}

/// The steps from `seen` to all of `wanted` running.
pub(crate) fn plan(wanted: &ClusterRecord, seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut unless = |there: bool, step: Step| {
        if !there {
            steps.push(step);
        }
    };
    unless(seen.recorded, Step::Record);
    unless(seen.forwarding, Step::EnableForwarding);
    unless(seen.forwarding6, Step::EnableForwarding6);
    for network in wanted.networks() {
        let name = network.bridge.clone();
        let address = format!("{}/{}", network.gateway, network.subnet.prefix());
        unless(
            seen.bridges.contains(&name),
            Step::CreateBridge { name, address },
        );
        let table = network.table.clone();
        unless(seen.tables.contains(&table), Step::ApplyNat { table });
    }
    for accept in &seen.accepts {
        unless(false, Step::Accept(accept.clone()));
    }
    unless(seen.keeper, Step::StartKeeper);
    unless(
        !seen.names_untold,
        Step::NamesOnHost {
            bridge: wanted.network.bridge.clone(),
            domain: wanted.spec.domain(),
        },
    );
    let forwards = join_forwards(&wanted.forwards);
    unless(seen.forwards == wanted.forwards, Step::Forward { forwards });
    for node in &wanted.nodes {
        let name = node.name.clone();
        unless(
            seen.disks.contains(&name),
            Step::CloneDisk { node: name.clone() },
        );
        unless(seen.running.contains(&name), Step::StartNode { node: name });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::record;

    #[test]
    fn from_nothing_everything_is_made_in_order() {
        let seen = Seen {
            forwarding6: true,
            ..Seen::default()
        };
        let steps = plan(&record(), &seen);
        assert_eq!(
            steps
                .iter()
                .take(6)
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
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
        let names: BTreeSet<_> = wanted.nodes.iter().map(|n| n.name.clone()).collect();
        let mut seen = Seen {
            recorded: true,
            forwarding: true,
            forwarding6: true,
            bridges: wanted.networks().map(|n| n.bridge.clone()).collect(),
            tables: wanted.networks().map(|n| n.table.clone()).collect(),
            accepts: Vec::new(),
            obstacles: Vec::new(),
            keeper: true,
            names_untold: false,
            forwards: Vec::new(),
            disks: names.clone(),
            running: names,
        };
        assert!(plan(&wanted, &seen).is_empty());
        seen.running.remove("worker1");
        assert_eq!(
            plan(&wanted, &seen),
            [Step::StartNode {
                node: "worker1".to_owned()
            }]
        );
    }
}

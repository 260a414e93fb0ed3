//! The steps of a plan, and their words.

use std::fmt;

use crate::state::{NodeRecord, Phase};
use crate::steps::{Growth, Object};

/// One step, with everything that it needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Make(Object),
    Remove(Object),
    /// Record that these nodes leave, before anything of them is removed.
    Leave(Vec<NodeRecord>),
    /// Take nodes of which nothing is left out of the record.
    Forget(Vec<NodeRecord>),
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

    /// The disk that the step grows.
    pub(crate) const fn grows(&self) -> Option<&Growth> {
        match self {
            Self::Make(Object::Growth(growth)) => Some(growth),
            _ => None,
        }
    }

    /// Splits the steps after the removal of nodes, which nothing undoes.
    pub(crate) fn after_removal(steps: &[Self]) -> (&[Self], &[Self]) {
        let last = steps.iter().rposition(|s| matches!(s, Self::Forget(_)));
        steps.split_at(last.map_or(0, |last| last + 1))
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
            Self::Leave(nodes) => write!(f, "record that {} leave the cluster", names(nodes)),
            Self::Forget(nodes) => write!(f, "take {} out of the record", names(nodes)),
            Self::Stop(nodes) => write!(f, "shut down {}", names(nodes)),
            Self::Kill(nodes) if nodes.is_empty() => f.write_str("end the keeper"),
            Self::Kill(nodes) => write!(f, "kill {} and end the keeper", names(nodes)),
            Self::Enter(Phase::Removing) => f.write_str("record that the cluster is being removed"),
            Self::Enter(phase) => write!(f, "record that the cluster is {}", phase.name()),
            Self::Remove(object) => match object {
                Object::Record(_) | Object::Files(_) => {
                    f.write_str("remove inventory, keys and ssh files")
                }
                Object::Outlet(_) => f.write_str("remove the fork's link to the host"),
                Object::Forwarding(_) => f.write_str("switch forwarding off if it was off before"),
                Object::Bridge(bridge) => write!(f, "remove the bridge {}", bridge.network.bridge),
                Object::Rules(rules) => write!(f, "remove the nft table inet {}", rules.table.name),
                Object::Accept(_) => f.write_str("remove rules from other firewalls"),
                Object::Scope(scope) => write!(f, "remove {}", scope.unit),
                Object::Keeper(_) => f.write_str("end the keeper"),
                Object::Names(_) => f.write_str("remove the names from systemd-resolved"),
                Object::Growth(growth) => write!(f, "leave the disk of {}", growth.node),
                Object::Forwards(_) => f.write_str("remove the forwards"),
                Object::Disk(disk) => write!(f, "remove the disk of {}", disk.node),
                Object::Node(node) => write!(f, "remove the sockets of {}", node.node),
                Object::Traces(traces) => write!(f, "remove {traces}"),
                Object::Folder(_) => f.write_str("remove the cluster's folder"),
            },
        }
    }
}

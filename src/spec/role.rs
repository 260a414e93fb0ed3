//! Roles: which nodes a cluster has, what each is made of, and where it stands in the inventory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::reference::Reference;
use super::restart::Restart;
use super::size::Bytes;
use super::value::Variables;

/// The roles that a cluster has where nobody asks for others, with the prefix of their nodes: the scripts' own. How
/// many nodes each has is in the table of aliases.
pub(super) const DEFAULT: [(&str, &str); 3] = [
    ("masters", "master"),
    ("workers", "worker"),
    ("load_balancers", "lbl"),
];
/// The group whose nodes are the cluster's balancers in DNS.
pub(crate) const BALANCERS: &str = "load_balancers";

/// Nodes of one kind.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleSpec {
    pub(crate) name: String,
    /// The nodes are called by it, with a number behind: `etcd0`.
    pub(crate) prefix: String,
    /// Of the inventory.
    pub(crate) groups: Vec<String>,
    pub(crate) count: u32,
    /// vcpus asked for; emulation holds them to the host's cores.
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    /// Virtual size of the disk.
    pub(crate) disk: Bytes,
    /// As it was asked for; empty for the template that kvmc builds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) image: String,
    /// What becomes of a node whose QEMU ended by itself.
    #[serde(default)]
    pub(crate) restart: Restart,
    /// Of the networks beside the main one, those that the nodes have a NIC in; none for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) networks: Option<Vec<String>>,
    /// What cloud-init is to do beside making each node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_data: Option<PathBuf>,
    /// Variables of the nodes in the inventory.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub(crate) vars: Variables,
}

impl RoleSpec {
    /// The image of its nodes, as it was asked for.
    pub(crate) fn reference(&self) -> Reference {
        Reference::parse(&self.image)
    }

    /// The names of its nodes.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = String> {
        let prefix = &self.prefix;
        (0..self.count).map(move |i| format!("{prefix}{i}"))
    }

    /// Whether its nodes have a NIC in a network beside the main one.
    pub(crate) fn is_in(&self, network: &str) -> bool {
        let names = self.networks.as_ref();
        names.is_none_or(|names| names.iter().any(|n| n == network))
    }
}

/// Whether a role is there unless the user says otherwise.
pub(super) fn is_default_role(role: &str) -> bool {
    DEFAULT.iter().any(|(name, _)| *name == role)
}

/// The prefix of a role's nodes where none is given: a label of DNS takes no underscore.
pub(super) fn default_prefix(role: &str) -> String {
    let scripts = DEFAULT.iter().find(|(name, _)| *name == role);
    scripts.map_or_else(
        || role.replace('_', "-"),
        |(_, prefix)| (*prefix).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::names::validate_prefix;
    use super::*;

    #[test]
    fn a_name_with_underscores_gives_a_prefix_that_is_a_label() {
        assert_eq!(default_prefix("kube_control_plane"), "kube-control-plane");
        assert_eq!(default_prefix("load_balancers"), "lbl");
        validate_prefix(&default_prefix("kube_control_plane")).unwrap();
    }
}

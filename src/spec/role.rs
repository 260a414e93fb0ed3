//! Roles: groups of nodes with the same machine, image and place in the inventory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::numbering::Numbering;
use super::reference::Reference;
use super::restart::Restart;
use super::size::Bytes;
use super::value::Variables;

/// The default roles with the prefix of their nodes, as in the original scripts. The table of aliases has their
/// numbers of nodes.
pub(super) const DEFAULT: [(&str, &str); 3] = [
    ("masters", "master"),
    ("workers", "worker"),
    ("load_balancers", "lbl"),
];
/// The inventory group whose nodes are the cluster's load balancers in DNS.
pub(crate) const BALANCERS: &str = "load_balancers";

/// Nodes of the same kind.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleSpec {
    pub(crate) name: String,
    /// The beginning of the nodes' names, followed by a number: `etcd0`.
    pub(crate) prefix: String,
    /// Groups of the inventory.
    pub(crate) groups: Vec<String>,
    pub(crate) count: u32,
    /// Numbers below the last node's that no node has, because `rm` removed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps: Vec<u32>,
    /// Requested number of vcpus. Emulation reduces it to the host's cores.
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    /// Virtual size of the disk.
    pub(crate) disk: Bytes,
    /// Nobody named the size, so the disk is as large as its image if that is larger. False in records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disk_may_grow: bool,
    /// Virtual sizes of the extra disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<Bytes>,
    /// The CPU model; empty for the accelerator's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) cpu: String,
    /// Whether the nodes can run KVM guests; `None` if the CPU model decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nested: Option<bool>,
    /// The image as requested; empty for the template.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) image: String,
    /// The restart policy for a node whose QEMU ended by itself.
    #[serde(default)]
    pub(crate) restart: Restart,
    /// The additional networks that the nodes have a NIC in; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) networks: Option<Vec<String>>,
    /// A file with additional work for cloud-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_data: Option<PathBuf>,
    /// Variables of the nodes in the inventory.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub(crate) vars: Variables,
}

impl RoleSpec {
    /// The requested image of its nodes.
    pub(crate) fn reference(&self) -> Reference {
        Reference::parse(&self.image)
    }

    /// The names of its nodes.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = String> {
        let prefix = &self.prefix;
        let numbers = self.numbering().numbers();
        numbers.map(move |i| format!("{prefix}{i}"))
    }

    /// Whether it has a node of this name.
    pub(crate) fn has_node(&self, name: &str) -> bool {
        self.number_of(name).is_some()
    }

    /// The number in the name of one of its nodes.
    fn number_of(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(&self.prefix)?;
        let number: u32 = digits.parse().ok()?;
        let is_plain = number.to_string() == digits;
        (is_plain && self.numbering().has(number)).then_some(number)
    }

    #[cfg(test)]
    /// Sets the number of its nodes. The last ones leave; new ones fill gaps first.
    pub(crate) fn scale(&mut self, count: u32) {
        self.gaps = self.numbering().with_count(count).gaps();
        self.count = count;
    }

    /// Takes a node out, and leaves all others their names. Returns whether it was one of its nodes.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let Some(number) = self.number_of(name) else {
            return false;
        };
        self.gaps = self.numbering().without(number).gaps();
        self.count -= 1;
        true
    }

    pub(super) fn numbering(&self) -> Numbering {
        Numbering::new(self.count, self.gaps.clone())
    }

    /// Whether its nodes have a NIC in an additional network.
    pub(crate) fn is_in(&self, network: &str) -> bool {
        let names = self.networks.as_ref();
        names.is_none_or(|names| names.iter().any(|n| n == network))
    }
}

/// Whether a role exists unless the user names other roles.
pub(super) fn is_default_role(role: &str) -> bool {
    DEFAULT.iter().any(|(name, _)| *name == role)
}

/// The default prefix of a role's nodes. A DNS label cannot hold an underscore.
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
    fn a_name_with_underscores_gives_a_prefix_that_is_a_dns_label() {
        assert_eq!(default_prefix("kube_control_plane"), "kube-control-plane");
        assert_eq!(default_prefix("load_balancers"), "lbl");
        validate_prefix(&default_prefix("kube_control_plane")).unwrap();
    }
}

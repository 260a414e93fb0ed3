//! The specification of a cluster.

use std::collections::BTreeMap;

use ipnetwork::Ipv4Network;
use kvmc_images::Architecture;
use kvmc_netns::firewall::HostPort;
use serde::{Deserialize, Serialize};

use super::choice::AccelChoice;
use super::dns::DnsSpec;
use super::files::FilesSpec;
use super::forward::Forward;
use super::lan::LanSpec;
use super::networks::NetworkSpec;
use super::node::NodeSpec;
use super::role::RoleSpec;

/// What the template is built from, for roles without a named image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplateSpec {
    pub(crate) suite: String,
    pub(crate) mirror: Option<String>,
    pub(crate) packages: Vec<String>,
}

/// A requested cluster, checked as far as possible without access to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterSpec {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) accel: AccelChoice,
    /// In the order of the inventory and of the nodes' addresses.
    pub(crate) roles: Vec<RoleSpec>,
    /// Settings of single nodes, by the nodes' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) nodes: BTreeMap<String, NodeSpec>,
    pub(crate) subnet: Ipv4Network,
    pub(crate) bridge: String,
    /// Nodes reach each other and the host only.
    #[serde(default)]
    pub(crate) isolated: bool,
    #[serde(default)]
    pub(crate) ipv6: bool,
    /// Ports of the host that nodes may reach, in addition to DHCP, DNS and ICMP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_ports: Vec<HostPort>,
    #[serde(default)]
    pub(crate) lan: LanSpec,
    /// Networks in addition to the main one, in the order of the nodes' NICs.
    #[serde(default)]
    pub(crate) networks: Vec<NetworkSpec>,
    /// The requested forwards; the record holds the existing ones.
    #[serde(default)]
    pub(crate) forwards: Vec<Forward>,
    #[serde(default)]
    pub(crate) dns: DnsSpec,
    #[serde(default)]
    pub(crate) files: FilesSpec,
    pub(crate) template: TemplateSpec,
}

impl ClusterSpec {
    /// A role by its name, if the cluster has it.
    pub(crate) fn role(&self, name: &str) -> Option<&RoleSpec> {
        self.roles.iter().find(|r| r.name == name)
    }

    /// Every requested node with its role, in the order of the roles.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = (String, &RoleSpec)> {
        let of = |role| RoleSpec::node_names(role).map(move |name| (name, role));
        self.roles.iter().flat_map(of)
    }
}

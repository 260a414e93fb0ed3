//! A cluster as asked for.

use ipnetwork::Ipv4Network;
use kvmc_images::Architecture;
use kvmc_netns::firewall::HostPort;
use serde::{Deserialize, Serialize};

use super::choice::AccelChoice;
use super::dns::DnsSpec;
use super::forward::Forward;
use super::networks::NetworkSpec;
use super::role::RoleSpec;

/// What the template is built of, where an image is not asked for by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplateSpec {
    pub(crate) suite: String,
    pub(crate) mirror: Option<String>,
    pub(crate) packages: Vec<String>,
}

/// A cluster as asked for, checked as far as that goes without looking at the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterSpec {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) accel: AccelChoice,
    /// In the order of the inventory and of the nodes' addresses.
    pub(crate) roles: Vec<RoleSpec>,
    pub(crate) subnet: Ipv4Network,
    pub(crate) bridge: String,
    /// Nodes reach each other and the host, and nothing outside.
    #[serde(default)]
    pub(crate) isolated: bool,
    #[serde(default)]
    pub(crate) ipv6: bool,
    /// What the nodes may reach on the host beside DHCP, DNS and ICMP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_ports: Vec<HostPort>,
    /// Networks beside the main one, in the order of the nodes' NICs.
    #[serde(default)]
    pub(crate) networks: Vec<NetworkSpec>,
    /// Asked for; what there is, is in the record.
    #[serde(default)]
    pub(crate) forwards: Vec<Forward>,
    #[serde(default)]
    pub(crate) dns: DnsSpec,
    pub(crate) template: TemplateSpec,
}

impl ClusterSpec {
    /// A role by name; none where the cluster has no such role.
    pub(crate) fn role(&self, name: &str) -> Option<&RoleSpec> {
        self.roles.iter().find(|r| r.name == name)
    }

    /// Every node asked for, with its role, in the roles' order.
    pub(crate) fn node_names(&self) -> impl Iterator<Item = (String, &RoleSpec)> {
        let of = |role| RoleSpec::node_names(role).map(move |name| (name, role));
        self.roles.iter().flat_map(of)
    }
}

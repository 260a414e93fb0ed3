//! What was asked: file, environment and flags, resolved into one checked [`ClusterSpec`].
//!
//! Pure but for reading `kvmc.toml` and the environment.

mod check;
mod dns;
mod file;
mod forward;
mod networks;
mod reference;
mod restart;
mod settings;
mod size;

pub(crate) use check::{AUTO, check, validate_cluster_name};
pub(crate) use dns::DnsSpec;
pub(crate) use file::parse as parse_file;
pub(crate) use forward::{Forward, join as join_forwards};
pub(crate) use networks::{MAIN, NetworkSpec, join as join_networks};
pub(crate) use reference::{BUILT_IN, Reference};
pub(crate) use restart::Restart;
pub(crate) use settings::{Key, Layer, Settings, Source, environment};
pub(crate) use size::{Bytes, approximate};

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnetwork::Ipv4Network;
use kvmc_images::Architecture;
use kvmc_netns::firewall::HostPort;
use serde::{Deserialize, Serialize};

/// Which accelerator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccelChoice {
    /// KVM when it really works, else TCG.
    Auto,
    Kvm,
    Tcg,
}

/// What a node is for; also the group it stands under in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Master,
    Worker,
    LoadBalancer,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Master, Self::Worker, Self::LoadBalancer];

    /// The node name without its number, as the scripts had it.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Worker => "worker",
            Self::LoadBalancer => "lbl",
        }
    }

    /// The inventory group.
    pub(crate) const fn group(self) -> &'static str {
        match self {
            Self::Master => "masters",
            Self::Worker => "workers",
            Self::LoadBalancer => "load_balancers",
        }
    }
}

/// How many nodes of a role, and their RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleSpec {
    pub(crate) count: u32,
    pub(crate) ram: Bytes,
    /// What becomes of a node whose QEMU ended by itself.
    #[serde(default)]
    pub(crate) restart: Restart,
}

/// The image that nodes are cloned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageSpec {
    /// As it was asked for; empty for the template that kvmc builds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Roles whose nodes have another one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) roles: BTreeMap<Role, String>,
    /// What cloud-init is to do beside making each node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_data: Option<PathBuf>,
    pub(crate) suite: String,
    pub(crate) mirror: Option<String>,
    pub(crate) packages: Vec<String>,
}

impl ImageSpec {
    /// The image of a role's nodes, as it was asked for.
    pub(crate) fn reference(&self, role: Role) -> Reference {
        Reference::parse(self.roles.get(&role).unwrap_or(&self.name))
    }
}

/// A cluster as asked for, checked as far as that goes without looking at the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterSpec {
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) accel: AccelChoice,
    pub(crate) masters: RoleSpec,
    pub(crate) workers: RoleSpec,
    pub(crate) load_balancers: RoleSpec,
    /// vcpus asked for, for each node; emulation holds them to the host's cores.
    pub(crate) vcpus: u32,
    /// Virtual size of each node's disk.
    pub(crate) disk: Bytes,
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
    /// Networks beside the main one, in the order of the nodes' cards.
    #[serde(default)]
    pub(crate) networks: Vec<NetworkSpec>,
    /// Asked for; what there is, is in the record.
    #[serde(default)]
    pub(crate) forwards: Vec<Forward>,
    #[serde(default)]
    pub(crate) dns: DnsSpec,
    pub(crate) image: ImageSpec,
}

impl ClusterSpec {
    pub(crate) const fn role(&self, role: Role) -> RoleSpec {
        match role {
            Role::Master => self.masters,
            Role::Worker => self.workers,
            Role::LoadBalancer => self.load_balancers,
        }
    }

    /// Every node asked for, masters first: its name and role.
    pub(crate) fn node_names(&self) -> Vec<(String, Role)> {
        Role::ALL
            .into_iter()
            .flat_map(|role| {
                (0..self.role(role).count).map(move |i| (format!("{}{i}", role.prefix()), role))
            })
            .collect()
    }
}

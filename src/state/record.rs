//! What is written down about a cluster, before it is made.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use kvmc_netns::MacAddr;
use serde::{Deserialize, Serialize};

use super::ClusterDir;
use super::network::{NetworkRecord, Networks};
use super::store::{replace_json, replace_json_unsynced};
use crate::model::Accelerator;
use crate::spec::{Bytes, ClusterSpec, Forward};

/// Version of `cluster.json`; a newer one is refused, an older one is migrated by `migrate.rs`.
pub(crate) const FORMAT: u32 = 2;

/// How far the cluster's life has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// `up` or `start` has begun; objects may or may not be there.
    Starting,
    /// Network, keeper and nodes were started.
    Up,
    /// `stop` is done or under way: nothing but files.
    Stopped,
    /// `down` has begun.
    Removing,
}

impl Phase {
    /// As the record has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Stopped => "stopped",
            Self::Removing => "removing",
        }
    }
}

/// `cluster.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterRecord {
    pub(crate) format: u32,
    /// Grows by one with each write.
    pub(crate) generation: u64,
    pub(crate) phase: Phase,
    pub(crate) spec: ClusterSpec,
    pub(crate) accelerator: Accelerator,
    /// Where `up` was run: the folder of `inventory` and `id_rsa`.
    pub(crate) project: PathBuf,
    pub(crate) host: HostRecord,
    /// In the order of the nodes' NICs, the main one first.
    pub(crate) networks: Networks,
    /// Ports of the host that lead to nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forwards: Vec<Forward>,
    pub(crate) nodes: Vec<NodeRecord>,
    /// It ran when the host went down; what is on disk has not heard of that yet.
    #[serde(skip)]
    pub(crate) host_rebooted: bool,
}

/// Where on the host the cluster is, and what was changed there for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    /// Inode of the network namespace that all its objects are in.
    pub(crate) namespace: u64,
    /// The boot of the host that they were made in; empty in records of before it was written down.
    #[serde(default)]
    pub(crate) boot_id: String,
    /// This cluster switched `ip_forward` on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) forwarding_was_off: bool,
    /// The host's systemd-resolved was told to ask for the cluster's names on the main bridge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) resolved: bool,
}

/// One node: all that never changes in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) name: String,
    /// The name of its role in the spec.
    pub(crate) role: String,
    pub(crate) uuid: String,
    /// 32 hex digits, machine-id(5).
    pub(crate) machine_id: String,
    /// The user that its QEMU runs as, and nothing else.
    pub(crate) uid: u32,
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    pub(crate) disk: Bytes,
    /// The main network's first.
    pub(crate) nics: Vec<NicRecord>,
    pub(crate) base: Base,
    /// Its image has no agent: it is told who it is by a seed disk, once, and watched from outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) seeded: bool,
}

/// What a node's disk lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(crate) enum Base {
    /// An image, by its digest.
    Image { image: String },
    /// A frozen machine, which lies on an image.
    Frozen { frozen: String, image: String },
    /// A snapshot of this node, by the snapshot's name, and what that lies on in the end.
    Snapshot { snapshot: String, image: String },
}

impl Base {
    /// Digest of the image at the bottom.
    pub(crate) fn image(&self) -> &str {
        match self {
            Self::Image { image } | Self::Frozen { image, .. } | Self::Snapshot { image, .. } => {
                image
            }
        }
    }

    /// The frozen machine that the node wakes from.
    pub(crate) fn frozen(&self) -> Option<&str> {
        match self {
            Self::Frozen { frozen, .. } => Some(frozen),
            Self::Image { .. } | Self::Snapshot { .. } => None,
        }
    }
}

/// A node's NIC in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NicRecord {
    /// The network's name.
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddr,
    pub(crate) tap: String,
}

impl NodeRecord {
    /// Its address in the main network, by which it is reached.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let first = self.nics.first();
        first.map_or(Ipv4Addr::UNSPECIFIED, |nic| nic.address)
    }

    /// Its NIC in a network.
    pub(crate) fn nic(&self, network: &str) -> Option<&NicRecord> {
        self.nics.iter().find(|nic| nic.network == network)
    }
}

impl ClusterRecord {
    /// All networks, the main one first.
    pub(crate) fn networks(&self) -> impl Iterator<Item = &NetworkRecord> {
        self.networks.iter()
    }

    /// The network of the nodes' first NIC, default route and DNS.
    pub(crate) fn main(&self) -> &NetworkRecord {
        self.networks.main()
    }

    /// A node's NICs with the network that each is in, the main one first.
    pub(crate) fn nics<'a>(
        &'a self,
        node: &'a NodeRecord,
    ) -> impl Iterator<Item = (&'a NetworkRecord, &'a NicRecord)> {
        self.networks()
            .filter_map(|network| Some((network, node.nic(&network.name)?)))
    }

    /// Nothing of a cluster outlives the host's boot but files: it is stopped then, and the host's
    /// network is another, even where its namespace has the number of the one before.
    pub(crate) fn notice_reboot(&mut self, boot_id: &str) {
        let made_in = &self.host.boot_id;
        let was_on_host = matches!(self.phase, Phase::Up | Phase::Starting);
        if was_on_host && !made_in.is_empty() && made_in != boot_id {
            self.phase = Phase::Stopped;
            self.host.forwarding_was_off = false;
            self.host_rebooted = true;
        }
    }

    /// Writes the record, with the next generation.
    ///
    /// # Errors
    /// The system's, with the path.
    pub(crate) fn save(&mut self, dir: &ClusterDir) -> Result<()> {
        self.generation += 1;
        replace_json(&dir.record(), self, 0o600)?;
        // The copy is for when the first is lost or damaged, which nothing of ours does to it.
        replace_json_unsynced(&dir.last_record(), self, 0o600)
    }

    /// A node by name.
    ///
    /// # Errors
    /// That there is none, with the names there are.
    pub(crate) fn node(&self, name: &str) -> Result<&NodeRecord> {
        self.nodes.iter().find(|n| n.name == name).with_context(|| {
            let names: Vec<_> = self.nodes.iter().map(|n| n.name.as_str()).collect();
            format!(
                "no node `{name}` in cluster `{}`; there are {}",
                self.spec.name,
                names.join(", ")
            )
        })
    }
}

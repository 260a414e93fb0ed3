//! The record of a cluster, written before each change to the host.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use kvmc_netns::MacAddr;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ClusterDir;
use super::fork::Fork;
use super::network::{NetworkRecord, Networks};
use super::store::{replace_json, replace_json_unsynced};
use crate::ids::hex;
use crate::model::{Accelerator, NothingThere};
use crate::spec::{Bytes, ClusterSpec, Forward, Selector, nearest};

/// Version of `cluster.json`. A newer one is refused; `migrate.rs` converts an older one.
pub(crate) const FORMAT: u32 = 2;

/// The phase of a cluster's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// `up` or `start` has begun. Objects may exist or not.
    Starting,
    /// Network, keeper and nodes were started.
    Up,
    /// `stop` is done or under way. Only files remain.
    Stopped,
    /// `down` has begun.
    Removing,
}

impl Phase {
    /// The name in the record.
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
    /// The folder in which `up` was run, with `inventory` and `id_rsa`.
    pub(crate) project: PathBuf,
    pub(crate) host: HostRecord,
    /// In the order of the nodes' NICs, the main network first.
    pub(crate) networks: Networks,
    /// Forwards from ports of the host to nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forwards: Vec<Forward>,
    pub(crate) nodes: Vec<NodeRecord>,
    /// Nodes that `stop NODE` has stopped, or that `start NODE` has not started. The keeper does not restart them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) stopped: BTreeSet<String>,
    /// The addresses of removed nodes, the longest removed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) resting: Vec<RestingNode>,
    /// The snapshot that the cluster was last saved in or restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
    /// The cluster ran when the host shut down or lost power. It is set in memory when the record is loaded, and the
    /// file still has the old phase.
    #[serde(skip)]
    pub(crate) host_rebooted: bool,
}

/// Where the cluster is on the host, and what kvmc changed there for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    /// Inode of the network namespace of all its objects.
    pub(crate) namespace: u64,
    /// The boot of the host in which its objects were made; empty in older records.
    #[serde(default)]
    pub(crate) boot_id: String,
    /// This cluster switched `ip_forward` on (older records only).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) forwarding_was_off: bool,
    /// systemd-resolved was told to ask for the cluster's names on the main bridge.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) resolved: bool,
    /// The cluster is a fork of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fork: Option<Fork>,
}

/// One node, with everything that stays the same for its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) name: String,
    /// The name of its role in the specification.
    pub(crate) role: String,
    pub(crate) uuid: String,
    /// 32 hex digits, machine-id(5).
    pub(crate) machine_id: String,
    /// The user id of its QEMU, used for nothing else.
    pub(crate) uid: u32,
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    pub(crate) disk: Bytes,
    /// Virtual sizes of its extra disks, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<Bytes>,
    /// The requested CPU model; empty for the accelerator's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) cpu: String,
    /// Whether it can run KVM guests; `None` if the CPU model decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nested: Option<bool>,
    /// The main network's NIC comes first.
    pub(crate) nics: Vec<NicRecord>,
    pub(crate) base: Base,
    /// Its image has no agent. A seed disk gives it its identity once, and the keeper watches it from outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) seeded: bool,
    /// The node's own images of each disk, the main disk first, where snapshots have made several: file names in its
    /// folder, the writable one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) chains: Vec<Vec<String>>,
}

/// A removed node, whose addresses rest: a node of the same name gets them again, and another one only when no other
/// address is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RestingNode {
    pub(crate) name: String,
    pub(crate) nics: Vec<NicRecord>,
}

/// What a node's disk lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(crate) enum Base {
    /// An image, by its digest.
    Image { image: String },
    /// A frozen machine, which lies on an image.
    Frozen { frozen: String, image: String },
    /// A snapshot of this node, by the snapshot's name, and the image below it.
    Snapshot { snapshot: String, image: String },
}

impl Base {
    /// The digest of the lowest image.
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
    pub(crate) network: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddr,
    pub(crate) tap: String,
}

impl NodeRecord {
    /// Its address in the main network, through which it is reached.
    pub(crate) fn address(&self) -> Ipv4Addr {
        let first = self.nics.first();
        first.map_or(Ipv4Addr::UNSPECIFIED, |nic| nic.address)
    }

    /// What stays of it when it is removed.
    pub(crate) fn resting(&self) -> RestingNode {
        RestingNode {
            name: self.name.clone(),
            nics: self.nics.clone(),
        }
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

    /// A node's NICs with their networks, the main one first.
    pub(crate) fn nics<'a>(
        &'a self,
        node: &'a NodeRecord,
    ) -> impl Iterator<Item = (&'a NetworkRecord, &'a NicRecord)> {
        self.networks()
            .filter_map(|network| Some((network, node.nic(&network.name)?)))
    }

    /// Notices a reboot of the host, after which only files of a cluster are left. The cluster counts as stopped, and
    /// its namespace is another, even if the inode is the same.
    pub(crate) fn notice_reboot(&mut self, boot_id: &str) {
        let made_in = &self.host.boot_id;
        let was_on_host = matches!(self.phase, Phase::Up | Phase::Starting);
        if was_on_host && !made_in.is_empty() && made_in != boot_id {
            self.lose_host();
        }
    }

    /// Notices that the cluster's network namespace went with all its processes, as with a container that was restarted
    /// on a kept state folder. The cluster counts as stopped, and verbs work from the namespace `here`.
    pub(crate) fn notice_lost_namespace(&mut self, here: u64) {
        match self.phase {
            Phase::Up | Phase::Starting => self.lose_host(),
            // The rest of the removal needs nothing of the lost namespace.
            Phase::Removing => self.host.namespace = here,
            Phase::Stopped => {}
        }
    }

    fn lose_host(&mut self) {
        self.phase = Phase::Stopped;
        self.host.forwarding_was_off = false;
        self.host_rebooted = true;
    }

    /// Removes nodes whose data is gone, and lets their addresses rest.
    pub(crate) fn forget(&mut self, names: &[&str]) {
        let is_gone = |name: &str| names.contains(&name);
        let gone = self.nodes.iter().filter(|n| is_gone(&n.name));
        let gone: Vec<_> = gone.map(NodeRecord::resting).collect();
        self.resting.retain(|r| !is_gone(&r.name));
        self.resting.extend(gone);
        self.nodes.retain(|n| !is_gone(&n.name));
        self.stopped.retain(|n| !is_gone(n));
        self.forwards.retain(|f| !is_gone(&f.node));
    }

    /// A digest of the whole record. It changes with each write.
    pub(crate) fn fingerprint(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        hex(Sha256::digest(text).get(..16).unwrap_or_default())
    }

    /// Writes the record with the next generation.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn save(&mut self, dir: &ClusterDir) -> Result<()> {
        self.generation += 1;
        replace_json(&dir.record(), self, 0o600)?;
        // The copy needs no fsync. It serves when the record is lost or damaged, which kvmc's own writes cannot cause.
        replace_json_unsynced(&dir.last_record(), self, 0o600)
    }

    /// A node by its name.
    ///
    /// # Errors
    /// Fails if there is none, with the nearest name or the names of all nodes.
    pub(crate) fn node(&self, name: &str) -> Result<&NodeRecord> {
        let found = self.nodes.iter().find(|n| n.name == name);
        found.ok_or_else(|| self.unknown(name).into())
    }

    fn unknown(&self, name: &str) -> NothingThere {
        let names: Vec<_> = self.nodes.iter().map(|n| n.name.as_str()).collect();
        let expected = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected {}", names.join(", ")),
        };
        NothingThere(format!(
            "cluster `{}` has no node `{}`; {expected}",
            self.spec.name,
            name.escape_debug()
        ))
    }

    /// Selects nodes by names and groups.
    pub(crate) fn selector(&self) -> Selector<'_> {
        let nodes = self.nodes.iter();
        let nodes = nodes.map(|n| (n.name.as_str(), n.role.as_str()));
        Selector::new(&self.spec.name, &self.spec.roles, nodes)
    }
}

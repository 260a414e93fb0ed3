//! What is written down about a cluster, before it is made.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ipnetwork::Ipv4Network;
use kvmc_netns::MacAddr;
use serde::{Deserialize, Serialize};

use super::ClusterDir;
use super::store::{read_json, replace_json};
use crate::host::Accelerator;
use crate::spec::{Bytes, ClusterSpec, Role};

/// Version of `cluster.json`; a newer one is refused, an older one would be migrated here.
pub(crate) const FORMAT: u32 = 1;

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

/// `cluster.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClusterRecord {
    pub(crate) format: u32,
    /// Grows by one with each write.
    pub(crate) generation: u64,
    pub(crate) phase: Phase,
    pub(crate) spec: ClusterSpec,
    /// Digest of the template that every node's disk lies on.
    pub(crate) image: String,
    pub(crate) accelerator: Accelerator,
    /// Where `up` was run: the folder of `inventory` and `id_rsa`.
    pub(crate) project: PathBuf,
    pub(crate) network: NetworkRecord,
    pub(crate) nodes: Vec<NodeRecord>,
}

/// The host objects of the network, with what they replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) bridge: String,
    pub(crate) mac: MacAddr,
    pub(crate) subnet: Ipv4Network,
    /// The host's address on the bridge: router and DHCP server.
    pub(crate) gateway: Ipv4Addr,
    pub(crate) mtu: u32,
    /// The nft table.
    pub(crate) table: String,
    pub(crate) dns: Vec<Ipv4Addr>,
    /// True once this cluster switched `ip_forward` on.
    pub(crate) forwarding_was_off: bool,
    /// Inode of the network namespace that all this is in.
    pub(crate) namespace: u64,
    /// The boot of the host that it was made in; empty in records of before it was written down.
    #[serde(default)]
    pub(crate) boot_id: String,
}

/// One node: all that never changes in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddr,
    pub(crate) uuid: String,
    /// 32 hex digits, machine-id(5).
    pub(crate) machine_id: String,
    /// The user that its QEMU runs as, and nothing else.
    pub(crate) uid: u32,
    pub(crate) tap: String,
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    pub(crate) disk: Bytes,
    /// The frozen machine that its disk lies on; without one it lies on the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frozen: Option<String>,
}

impl ClusterRecord {
    /// The record of a cluster; `None` when there is no such cluster.
    ///
    /// # Errors
    /// A file that is damaged, or of a newer kvmc.
    pub(crate) fn load(dir: &ClusterDir) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let path = dir.record();
        let Some(Version { format }) = read_json(&path)? else {
            return Ok(None);
        };
        if format != FORMAT {
            bail!(
                "{} is of format {format}, this kvmc knows {FORMAT}; use the kvmc that made it",
                path.display()
            );
        }
        read_json(&path)
    }

    /// As [`Self::load`], where a cluster must be.
    ///
    /// # Errors
    /// Also that there is no such cluster, with what to do.
    pub(crate) fn require(dir: &ClusterDir, name: &str) -> Result<Self> {
        Self::load(dir)?
            .with_context(|| format!("there is no cluster `{name}`; `kvmc up` makes it"))
    }

    /// Writes the record, with the next generation.
    ///
    /// # Errors
    /// The system's, with the path.
    pub(crate) fn save(&mut self, dir: &ClusterDir) -> Result<()> {
        self.generation += 1;
        replace_json(&dir.record(), self, 0o600)
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

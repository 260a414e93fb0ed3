//! What is written down about a cluster, before it is made.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipnetwork::{Ipv4Network, Ipv6Network};
use kvmc_netns::MacAddr;
use serde::{Deserialize, Serialize};

use super::ClusterDir;
use super::store::{read_json, replace_json, replace_json_unsynced};
use crate::ids::boot_id;
use crate::model::Accelerator;
use crate::spec::{Bytes, ClusterSpec, Forward, MAIN, Role};

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
    /// Digest of the image that the nodes' disks lie on, but for those that have their own.
    pub(crate) image: String,
    pub(crate) accelerator: Accelerator,
    /// Where `up` was run: the folder of `inventory` and `id_rsa`.
    pub(crate) project: PathBuf,
    /// The main one: of the nodes' first card, default route and DNS.
    pub(crate) network: NetworkRecord,
    /// The others, in the order of the nodes' further cards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_networks: Vec<NetworkRecord>,
    /// Ports of the host that lead to nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) forwards: Vec<Forward>,
    pub(crate) nodes: Vec<NodeRecord>,
    /// It ran when the host went down; what is on disk has not heard of that yet.
    #[serde(skip)]
    pub(crate) host_rebooted: bool,
}

/// The host objects of a network, with what they replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// Unique in the cluster.
    #[serde(default = "main_name")]
    pub(crate) name: String,
    pub(crate) bridge: String,
    pub(crate) mac: MacAddr,
    pub(crate) subnet: Ipv4Network,
    /// The host's address on the bridge: router and DHCP server.
    pub(crate) gateway: Ipv4Addr,
    pub(crate) mtu: u32,
    /// Its nodes reach nothing outside.
    #[serde(default)]
    pub(crate) isolated: bool,
    /// The prefix that its nodes make their IPv6 addresses in; none without IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix6: Option<Ipv6Network>,
    /// The nft table.
    pub(crate) table: String,
    pub(crate) dns: Vec<Ipv4Addr>,
    /// True once this cluster switched `ip_forward` on; of the main network alone, as is `namespace`.
    pub(crate) forwarding_was_off: bool,
    /// The host's systemd-resolved was told to ask for the cluster's names on the bridge; of the main
    /// network alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) resolved: bool,
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
    /// Cards beside the first, in the order of the record's `more_networks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_nics: Vec<NicRecord>,
    /// Digest of the image that its disk lies on, where that is not the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// Its image has no agent: it is told who it is by a seed disk, once, and watched from outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) seeded: bool,
    /// The frozen machine that its disk lies on; without one it lies on the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frozen: Option<String>,
}

/// A node's card in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NicRecord {
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddr,
    pub(crate) tap: String,
}

fn main_name() -> String {
    MAIN.to_owned()
}

impl NetworkRecord {
    /// True for the network that gives nodes their default route and DNS.
    pub(crate) fn is_main(&self) -> bool {
        self.name == MAIN
    }

    /// The host's IPv6 address on the bridge: the first of the prefix.
    pub(crate) fn gateway6(&self) -> Option<Ipv6Addr> {
        let prefix = self.prefix6?;
        Some(Ipv6Addr::from(u128::from(prefix.network()) | 1))
    }

    /// The address that a node with this card makes itself in the prefix: RFC 4862, from the card's
    /// Ethernet address as RFC 4291 appendix A has it.
    pub(crate) fn address6(&self, mac: MacAddr) -> Option<Ipv6Addr> {
        let prefix = self.prefix6?;
        let [a, b, c, d, e, f] = mac.octets();
        let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        Some(Ipv6Addr::from(
            u128::from(prefix.network()) | u128::from(interface),
        ))
    }
}

impl NodeRecord {
    /// All its cards, the main network's first.
    pub(crate) fn nics(&self) -> impl Iterator<Item = NicRecord> {
        let first = NicRecord {
            address: self.address,
            mac: self.mac,
            tap: self.tap.clone(),
        };
        std::iter::once(first).chain(self.more_nics.iter().cloned())
    }
}

/// What there is of a record.
#[derive(Debug)]
pub(crate) enum Found {
    /// Neither it nor a copy of it.
    Nothing,
    Whole(Box<ClusterRecord>),
    /// It is damaged or gone, which the error says; its last good copy.
    Copy(Box<ClusterRecord>, anyhow::Error),
    /// It is damaged, and so is its copy, or there is none.
    Unreadable(anyhow::Error),
    /// It is of a newer kvmc, and none of our business.
    Newer(anyhow::Error),
}

impl Found {
    pub(crate) fn look(dir: &ClusterDir) -> Self {
        match Self::look_once(dir) {
            // Without the lock, a record may have come between the look at it and the one at its copy.
            Self::Copy(..) => Self::look_once(dir),
            found => found,
        }
    }

    fn look_once(dir: &ClusterDir) -> Self {
        let path = dir.record();
        let error = match read(&path) {
            Ok(Some(record)) => return Self::Whole(Box::new(record)),
            Ok(None) => None,
            Err(error) if error.is::<Newer>() => return Self::Newer(error),
            Err(error) => Some(error),
        };
        match (read(&dir.last_record()), error) {
            (Ok(Some(copy)), error) => Self::Copy(
                Box::new(copy),
                error.unwrap_or_else(|| anyhow::anyhow!("{} is gone", path.display())),
            ),
            (Err(copy), None) if copy.is::<Newer>() => Self::Newer(copy),
            (_, Some(error)) | (Err(error), None) => Self::Unreadable(error),
            (Ok(None), None) => Self::Nothing,
        }
    }

    /// The record, or its last good copy.
    pub(crate) fn record(self) -> Option<ClusterRecord> {
        match self {
            Self::Whole(record) | Self::Copy(record, _) => Some(*record),
            _ => None,
        }
    }
}

/// A record of a later format.
#[derive(Debug, thiserror::Error)]
#[error("{} is of format {format}, this kvmc knows {FORMAT}; use the kvmc that made it", path.display())]
struct Newer {
    path: PathBuf,
    format: u32,
}

fn read(path: &Path) -> Result<Option<ClusterRecord>> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Some(Version { format }) = read_json(path)? else {
        return Ok(None);
    };
    if format > FORMAT {
        let path = path.to_owned();
        return Err(Newer { path, format }.into());
    }
    if format < FORMAT {
        bail!(
            "{} is of format {format}, which no kvmc ever wrote",
            path.display()
        );
    }
    let mut record: Option<ClusterRecord> = read_json(path)?;
    if let Some(record) = &mut record {
        record.notice_reboot(&boot_id()?);
    }
    Ok(record)
}

impl ClusterRecord {
    /// All networks, the main one first.
    pub(crate) fn networks(&self) -> impl Iterator<Item = &NetworkRecord> {
        std::iter::once(&self.network).chain(&self.more_networks)
    }

    /// A node's cards with the network that each is in, the main one first.
    pub(crate) fn nics(
        &self,
        node: &NodeRecord,
    ) -> impl Iterator<Item = (&NetworkRecord, NicRecord)> {
        self.networks().zip(node.nics())
    }

    /// The record of a cluster; `None` when there is no such cluster.
    ///
    /// # Errors
    /// A file that is damaged or gone, with what to do, or of a newer kvmc.
    pub(crate) fn load(dir: &ClusterDir) -> Result<Option<Self>> {
        match Found::look(dir) {
            Found::Nothing => Ok(None),
            Found::Whole(record) => Ok(Some(*record)),
            Found::Copy(copy, error) => Err(error.context(format!(
                "the record of cluster `{}` cannot be used; `kvmc doctor --fix` puts its last good copy (generation {}) back, `kvmc down` removes the cluster",
                dir.name(),
                copy.generation
            ))),
            Found::Unreadable(error) => Err(error.context(format!(
                "the record of cluster `{}` cannot be used and has no good copy; `kvmc down` removes what is left of the cluster",
                dir.name()
            ))),
            Found::Newer(error) => Err(error),
        }
    }

    /// Nothing of a cluster outlives the host's boot but files: it is stopped then, and the host's
    /// network is another, even where its namespace has the number of the one before.
    pub(crate) fn notice_reboot(&mut self, boot_id: &str) {
        let made_in = &self.network.boot_id;
        let was_on_host = matches!(self.phase, Phase::Up | Phase::Starting);
        if was_on_host && !made_in.is_empty() && made_in != boot_id {
            self.phase = Phase::Stopped;
            self.network.forwarding_was_off = false;
            self.host_rebooted = true;
        }
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
        replace_json(&dir.record(), self, 0o600)?;
        // The copy is for when the first is lost or damaged, which nothing of ours does to it.
        replace_json_unsynced(&dir.last_record(), self, 0o600)
    }

    /// Digest of the image that a node's disk lies on.
    pub(crate) fn image_of<'a>(&'a self, node: &'a NodeRecord) -> &'a str {
        node.image.as_ref().unwrap_or(&self.image)
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    use std::time::{Duration, Instant};

    use nix::libc::O_NONBLOCK;
    use nix::sys::stat::Mode;

    use super::*;
    use crate::state::State;

    /// A reader of `fifo`, once there is one; none within ten seconds is an error.
    fn reader_of(fifo: &Path) -> std::io::Result<std::fs::File> {
        let mut options = std::fs::File::options();
        options.write(true).custom_flags(O_NONBLOCK);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match options.open(fifo) {
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                opened => return opened,
            }
        }
    }

    #[test]
    fn p9_a_record_that_comes_between_the_looks_at_it_and_at_its_copy_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = State::at(root.path()).cluster("k80");
        std::fs::create_dir_all(dir.path()).unwrap();
        // The reader is held at the copy, when it has seen already that there is no record.
        let copy = dir.last_record();
        nix::unistd::mkfifo(&copy, Mode::S_IRWXU).unwrap();
        let looked = std::thread::scope(|scope| {
            let up = scope.spawn(|| {
                let mut reader = reader_of(&copy)?;
                crate::cluster::tests::record().save(&dir).unwrap();
                reader.write_all(&std::fs::read(dir.record())?)
            });
            let looked = Found::look(&dir);
            up.join().unwrap().unwrap();
            looked
        });
        assert!(matches!(looked, Found::Whole(_)), "{looked:?}");
    }

    #[test]
    fn p21_a_cluster_of_an_earlier_boot_is_stopped_wherever_it_was() {
        for (phase, after) in [
            (Phase::Up, Phase::Stopped),
            (Phase::Starting, Phase::Stopped),
            (Phase::Removing, Phase::Removing),
        ] {
            let mut record = crate::cluster::tests::record();
            record.phase = phase;
            record.network.forwarding_was_off = true;
            record.notice_reboot("now");
            assert_eq!(record.phase, phase, "no boot was written down");
            record.network.boot_id = "before".to_owned();
            record.notice_reboot("before");
            assert_eq!((record.phase, record.host_rebooted), (phase, false));
            record.notice_reboot("now");
            assert_eq!(record.phase, after);
            assert_eq!(record.host_rebooted, after == Phase::Stopped);
        }
    }
}

//! Records of format 1.
//!
//! This format had three roles in fields of their own, a main network apart from a list of others, and a node's base
//! in two optional fields.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use ipnetwork::{Ipv4Network, Ipv6Network};
use kvmc_images::Architecture;
use kvmc_netns::MacAddr;
use kvmc_netns::firewall::HostPort;
use serde::Deserialize;

use super::network::{NetworkRecord, Networks};
use super::record::{Base, ClusterRecord, FORMAT, HostRecord, NicRecord, NodeRecord, Phase};
use crate::model::Accelerator;
use crate::spec::{
    AccelChoice, Bytes, ClusterSpec, DnsSpec, FilesSpec, Forward, LanSpec, MAIN, NetworkSpec,
    Restart, RoleSpec, TemplateSpec,
};

#[derive(Deserialize)]
pub(super) struct Record1 {
    generation: u64,
    phase: Phase,
    spec: Spec1,
    image: String,
    accelerator: Accelerator,
    project: PathBuf,
    network: Network1,
    #[serde(default)]
    more_networks: Vec<Network1>,
    #[serde(default)]
    forwards: Vec<Forward>,
    nodes: Vec<Node1>,
}

#[derive(Deserialize)]
struct Spec1 {
    name: String,
    architecture: Architecture,
    accel: AccelChoice,
    masters: Role1,
    workers: Role1,
    load_balancers: Role1,
    vcpus: u32,
    disk: Bytes,
    subnet: Ipv4Network,
    bridge: String,
    #[serde(default)]
    isolated: bool,
    #[serde(default)]
    ipv6: bool,
    #[serde(default)]
    host_ports: Vec<HostPort>,
    #[serde(default)]
    networks: Vec<NetworkSpec>,
    #[serde(default)]
    forwards: Vec<Forward>,
    #[serde(default)]
    dns: DnsSpec,
    image: Image1,
}

#[derive(Deserialize)]
struct Role1 {
    count: u32,
    ram: Bytes,
    #[serde(default)]
    restart: Restart,
}

#[derive(Deserialize)]
struct Image1 {
    #[serde(default)]
    name: String,
    #[serde(default)]
    roles: BTreeMap<RoleName1, String>,
    #[serde(default)]
    user_data: Option<PathBuf>,
    suite: String,
    mirror: Option<String>,
    packages: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleName1 {
    Master,
    Worker,
    LoadBalancer,
}

impl RoleName1 {
    const fn name(self) -> &'static str {
        match self {
            Self::Master => "masters",
            Self::Worker => "workers",
            Self::LoadBalancer => "load_balancers",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Worker => "worker",
            Self::LoadBalancer => "lbl",
        }
    }
}

#[derive(Deserialize)]
struct Network1 {
    #[serde(default = "main_name")]
    name: String,
    bridge: String,
    mac: MacAddr,
    subnet: Ipv4Network,
    gateway: Ipv4Addr,
    mtu: u32,
    #[serde(default)]
    isolated: bool,
    #[serde(default)]
    prefix6: Option<Ipv6Network>,
    table: String,
    dns: Vec<Ipv4Addr>,
    forwarding_was_off: bool,
    #[serde(default)]
    resolved: bool,
    namespace: u64,
    #[serde(default)]
    boot_id: String,
}

fn main_name() -> String {
    MAIN.to_owned()
}

#[derive(Deserialize)]
struct Node1 {
    name: String,
    role: RoleName1,
    address: Ipv4Addr,
    mac: MacAddr,
    uuid: String,
    machine_id: String,
    uid: u32,
    tap: String,
    vcpus: u32,
    ram: Bytes,
    disk: Bytes,
    #[serde(default)]
    more_nics: Vec<Nic1>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    seeded: bool,
    #[serde(default)]
    frozen: Option<String>,
}

#[derive(Deserialize)]
struct Nic1 {
    address: Ipv4Addr,
    mac: MacAddr,
    tap: String,
}

impl Record1 {
    /// Converts the record to the current format.
    ///
    /// # Errors
    /// Fails if there are more networks than a NIC's index can express.
    pub(super) fn migrate(self) -> Result<ClusterRecord> {
        let host = HostRecord {
            namespace: self.network.namespace,
            boot_id: self.network.boot_id.clone(),
            forwarding_was_off: self.network.forwarding_was_off,
            resolved: self.network.resolved,
            fork: None,
        };
        let networks: Vec<_> = std::iter::once(self.network)
            .chain(self.more_networks)
            .map(Network1::migrate)
            .collect();
        let names: Vec<_> = networks.iter().map(|n| n.name.clone()).collect();
        let nodes = self.nodes.into_iter();
        Ok(ClusterRecord {
            stopped: Default::default(),
            resting: Vec::new(),
            format: FORMAT,
            generation: self.generation,
            phase: self.phase,
            spec: self.spec.migrate(),
            accelerator: self.accelerator,
            project: self.project,
            host,
            networks: Networks::try_from(networks).map_err(anyhow::Error::msg)?,
            forwards: self.forwards,
            nodes: nodes.map(|n| n.migrate(&self.image, &names)).collect(),
            snapshot: None,
            host_rebooted: false,
        })
    }
}

impl Spec1 {
    fn migrate(self) -> ClusterSpec {
        let roles = [
            (RoleName1::Master, self.masters),
            (RoleName1::Worker, self.workers),
            (RoleName1::LoadBalancer, self.load_balancers),
        ];
        let image = self.image;
        let roles = roles.map(|(role, before)| RoleSpec {
            name: role.name().to_owned(),
            prefix: role.prefix().to_owned(),
            groups: vec![role.name().to_owned()],
            count: before.count,
            vcpus: self.vcpus,
            ram: before.ram,
            disk: self.disk,
            disk_may_grow: false,
            image: image.roles.get(&role).unwrap_or(&image.name).clone(),
            restart: before.restart,
            user_data: image.user_data.clone(),
            ..RoleSpec::default()
        });
        ClusterSpec {
            name: self.name,
            architecture: self.architecture,
            accel: self.accel,
            roles: roles.into(),
            nodes: BTreeMap::new(),
            subnet: self.subnet,
            bridge: self.bridge,
            isolated: self.isolated,
            ipv6: self.ipv6,
            host_ports: self.host_ports,
            lan: LanSpec::default(),
            networks: self.networks,
            forwards: self.forwards,
            dns: self.dns,
            files: FilesSpec::default(),
            template: TemplateSpec {
                suite: image.suite,
                mirror: image.mirror,
                packages: image.packages,
            },
        }
    }
}

impl Network1 {
    fn migrate(self) -> NetworkRecord {
        NetworkRecord {
            name: self.name,
            bridge: self.bridge,
            mac: self.mac,
            subnet: self.subnet,
            gateway: self.gateway,
            mtu: self.mtu,
            lldp: false,
            isolated: self.isolated,
            prefix6: self.prefix6,
            table: self.table,
            dns: self.dns,
        }
    }
}

impl Node1 {
    fn migrate(self, cluster_image: &str, networks: &[String]) -> NodeRecord {
        let first = Nic1 {
            address: self.address,
            mac: self.mac,
            tap: self.tap,
        };
        let nics = std::iter::once(first).chain(self.more_nics);
        let image = self.image.unwrap_or_else(|| cluster_image.to_owned());
        NodeRecord {
            name: self.name,
            role: self.role.name().to_owned(),
            uuid: self.uuid,
            machine_id: self.machine_id,
            uid: self.uid,
            vcpus: self.vcpus,
            ram: self.ram,
            disk: self.disk,
            disks: Vec::new(),
            cpu: String::new(),
            nested: None,
            nics: networks
                .iter()
                .zip(nics)
                .map(|(network, nic)| NicRecord {
                    network: network.clone(),
                    address: nic.address,
                    mac: nic.mac,
                    tap: nic.tap,
                })
                .collect(),
            base: match self.frozen {
                Some(frozen) => Base::Frozen { frozen, image },
                None => Base::Image { image },
            },
            seeded: self.seeded,
            chains: Vec::new(),
        }
    }
}

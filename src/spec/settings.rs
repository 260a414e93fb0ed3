//! Settings by name, each with the layer it came from: flag over environment over file over the
//! cluster that exists over default.

use std::collections::BTreeMap;
use std::fmt;

use kvmc_images::Architecture;

/// One setting. The order here is the order in which `kvmc config` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    Cluster,
    Architecture,
    Accel,
    Masters,
    Workers,
    LoadBalancers,
    Vcpus,
    MasterRam,
    WorkerRam,
    LblRam,
    Disk,
    MasterRestart,
    WorkerRestart,
    LblRestart,
    Bridge,
    Subnet,
    Isolated,
    Ipv6,
    HostPorts,
    Networks,
    Forward,
    Domain,
    Records,
    Image,
    MasterImage,
    WorkerImage,
    LblImage,
    UserData,
    Suite,
    Mirror,
    Packages,
}

impl Key {
    pub(crate) const ALL: [Self; 31] = [
        Self::Cluster,
        Self::Architecture,
        Self::Accel,
        Self::Masters,
        Self::Workers,
        Self::LoadBalancers,
        Self::Vcpus,
        Self::MasterRam,
        Self::WorkerRam,
        Self::LblRam,
        Self::Disk,
        Self::MasterRestart,
        Self::WorkerRestart,
        Self::LblRestart,
        Self::Bridge,
        Self::Subnet,
        Self::Isolated,
        Self::Ipv6,
        Self::HostPorts,
        Self::Networks,
        Self::Forward,
        Self::Domain,
        Self::Records,
        Self::Image,
        Self::MasterImage,
        Self::WorkerImage,
        Self::LblImage,
        Self::UserData,
        Self::Suite,
        Self::Mirror,
        Self::Packages,
    ];

    /// The name in `kvmc.toml`; a dot separates the table from the key.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Architecture => "architecture",
            Self::Accel => "accel",
            Self::Masters => "masters",
            Self::Workers => "workers",
            Self::LoadBalancers => "load_balancers",
            Self::Vcpus => "vcpus",
            Self::MasterRam => "master_ram",
            Self::WorkerRam => "worker_ram",
            Self::LblRam => "lbl_ram",
            Self::Disk => "disk",
            Self::MasterRestart => "master_restart",
            Self::WorkerRestart => "worker_restart",
            Self::LblRestart => "lbl_restart",
            Self::Bridge => "network.bridge",
            Self::Subnet => "network.subnet",
            Self::Isolated => "network.isolated",
            Self::Ipv6 => "network.ipv6",
            Self::HostPorts => "network.host_ports",
            Self::Networks => "networks",
            Self::Forward => "forward",
            Self::Domain => "dns.domain",
            Self::Records => "dns.records",
            Self::Image => "image.name",
            Self::MasterImage => "master_image",
            Self::WorkerImage => "worker_image",
            Self::LblImage => "lbl_image",
            Self::UserData => "user_data",
            Self::Suite => "image.suite",
            Self::Mirror => "image.mirror",
            Self::Packages => "image.packages",
        }
    }

    /// The environment variable: the scripts' own where they had one.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Cluster => "KVMC_CLUSTER",
            Self::Architecture => "CPU_ARCHITECTURE",
            Self::Accel => "KVMC_ACCEL",
            Self::Masters => "KVMC_MASTERS",
            Self::Workers => "KVMC_WORKERS",
            Self::LoadBalancers => "KVMC_LOAD_BALANCERS",
            Self::Vcpus => "VIRTUAL_CPUS",
            Self::MasterRam => "MASTER_RAM",
            Self::WorkerRam => "WORKER_RAM",
            Self::LblRam => "LBL_RAM",
            Self::Disk => "DISK_SIZE",
            Self::MasterRestart => "MASTER_RESTART",
            Self::WorkerRestart => "WORKER_RESTART",
            Self::LblRestart => "LBL_RESTART",
            Self::Bridge => "KVMC_BRIDGE",
            Self::Subnet => "KVMC_SUBNET",
            Self::Isolated => "KVMC_ISOLATED",
            Self::Ipv6 => "KVMC_IPV6",
            Self::HostPorts => "KVMC_HOST_PORTS",
            Self::Networks => "KVMC_NETWORKS",
            Self::Forward => "KVMC_FORWARD",
            Self::Domain => "KVMC_DNS_DOMAIN",
            Self::Records => "KVMC_DNS_RECORDS",
            Self::Image => "KVMC_IMAGE",
            Self::MasterImage => "KVMC_MASTER_IMAGE",
            Self::WorkerImage => "KVMC_WORKER_IMAGE",
            Self::LblImage => "KVMC_LBL_IMAGE",
            Self::UserData => "KVMC_USER_DATA",
            Self::Suite => "KVMC_SUITE",
            Self::Mirror => "KVMC_MIRROR",
            Self::Packages => "KVMC_PACKAGES",
        }
    }

    /// The command-line flag.
    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::Cluster => "--cluster",
            Self::Architecture => "--arch",
            Self::Accel => "--accel",
            Self::Masters => "--masters",
            Self::Workers => "--workers",
            Self::LoadBalancers => "--load-balancers",
            Self::Vcpus => "--vcpus",
            Self::MasterRam => "--master-ram",
            Self::WorkerRam => "--worker-ram",
            Self::LblRam => "--lbl-ram",
            Self::Disk => "--disk",
            Self::MasterRestart => "--master-restart",
            Self::WorkerRestart => "--worker-restart",
            Self::LblRestart => "--lbl-restart",
            Self::Bridge => "--bridge",
            Self::Subnet => "--subnet",
            Self::Isolated => "--isolated",
            Self::Ipv6 => "--ipv6",
            Self::HostPorts => "--host-port",
            Self::Networks => "--network",
            Self::Forward => "--forward",
            Self::Domain => "--dns-domain",
            Self::Records => "--dns-record",
            Self::Image => "--image",
            Self::MasterImage => "--master-image",
            Self::WorkerImage => "--worker-image",
            Self::LblImage => "--lbl-image",
            Self::UserData => "--user-data",
            Self::Suite => "--suite",
            Self::Mirror => "--mirror",
            Self::Packages => "--package",
        }
    }

    pub(super) const fn default(self) -> &'static str {
        match self {
            Self::Cluster | Self::Bridge => "k80",
            // What the host runs without emulation.
            Self::Architecture => match Architecture::host() {
                Some(Architecture::Arm64) => "arm64",
                _ => "amd64",
            },
            Self::Accel => "auto",
            Self::Masters | Self::Workers => "3",
            Self::LoadBalancers => "1",
            Self::Vcpus => "4",
            Self::MasterRam | Self::LblRam => "2G",
            Self::WorkerRam => "4G",
            Self::Disk => "4G",
            Self::MasterRestart | Self::WorkerRestart | Self::LblRestart => "never",
            Self::Subnet => "192.168.80.0/24",
            Self::Suite => "trixie",
            Self::Isolated | Self::Ipv6 => "false",
            Self::Image
            | Self::MasterImage
            | Self::WorkerImage
            | Self::LblImage
            | Self::UserData
            | Self::Mirror
            | Self::Packages
            | Self::HostPorts
            | Self::Networks
            | Self::Forward
            | Self::Domain
            | Self::Records => "",
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    /// The record of the cluster that exists.
    Cluster,
    /// `kvmc.toml`, with the line.
    File {
        path: String,
        line: usize,
    },
    Environment(&'static str),
    Flag(&'static str),
}

impl Source {
    /// True when a person asked for the value on this run, rather than it being a left-over.
    pub(crate) const fn is_asked(&self) -> bool {
        !matches!(self, Self::Default | Self::Cluster)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Cluster => f.write_str("the cluster as it was created"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Values of one layer.
pub(crate) type Layer = BTreeMap<Key, (String, Source)>;

/// Every setting with its value and source.
#[derive(Debug, Clone)]
pub(crate) struct Settings(BTreeMap<Key, (String, Source)>);

impl Settings {
    /// Lays `layers` over the defaults, the later over the earlier.
    pub(crate) fn resolve(layers: impl IntoIterator<Item = Layer>) -> Self {
        let mut all: Layer = Key::ALL
            .into_iter()
            .map(|k| (k, (k.default().to_owned(), Source::Default)))
            .collect();
        for layer in layers {
            all.extend(layer);
        }
        Self(all)
    }

    pub(crate) fn value(&self, key: Key) -> &str {
        self.0.get(&key).map_or("", |(value, _)| value)
    }

    pub(crate) fn source(&self, key: Key) -> Source {
        self.0
            .get(&key)
            .map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The packages, which one string holds separated by blanks or commas.
    pub(crate) fn packages(&self) -> Vec<String> {
        self.words(Key::Packages).map(str::to_owned).collect()
    }

    /// The items of a list, which one string holds separated by blanks or commas.
    pub(crate) fn words(&self, key: Key) -> impl Iterator<Item = &str> {
        self.value(key)
            .split([' ', ',', '\n', '\t'])
            .filter(|p| !p.is_empty())
    }

    /// Puts what was found out in the place of what was asked for, such as a subnet in that of `auto`.
    pub(crate) fn settle(&mut self, key: Key, value: String) {
        let source = self.source(key);
        self.0.insert(key, (value, source));
    }
}

/// The layer that the environment gives; `read` is `std::env::var` outside tests.
///
/// An empty variable counts as unset, as it does for the scripts' `${VAR:-default}`.
pub(crate) fn environment(read: impl Fn(&str) -> Option<String>) -> Layer {
    Key::ALL
        .into_iter()
        .filter_map(|key| {
            let value = read(key.variable())?;
            (!value.trim().is_empty()).then(|| (key, (value, Source::Environment(key.variable()))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win() {
        let file = Layer::from([(
            Key::Vcpus,
            (
                "2".to_owned(),
                Source::File {
                    path: "kvmc.toml".to_owned(),
                    line: 3,
                },
            ),
        )]);
        let environment = environment(|name| (name == "VIRTUAL_CPUS").then(|| "3".to_owned()));
        let flags = Layer::from([(Key::Masters, ("1".to_owned(), Source::Flag("--masters")))]);
        let settings = Settings::resolve([file, environment, flags]);
        assert_eq!(settings.value(Key::Vcpus), "3");
        assert_eq!(
            settings.source(Key::Vcpus),
            Source::Environment("VIRTUAL_CPUS")
        );
        assert_eq!(settings.value(Key::Masters), "1");
        assert_eq!(settings.value(Key::Disk), "4G");
        assert!(!settings.source(Key::Disk).is_asked());
    }

    #[test]
    fn an_empty_variable_is_unset() {
        assert!(environment(|_| Some(String::new())).is_empty());
    }
}

//! The table of settings: one row each. Flags, variables, `kvmc config`, help, errors and README's table come from
//! it, and to add a setting is to add a row here and to use it in `check.rs`.

use kvmc_images::Architecture;

use super::kind::Kind;

/// Whether and how a setting can change on a cluster that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// `up` applies it to what runs.
    Live,
    /// Nodes have it from their next start on.
    NextStart,
    /// The cluster must be made anew.
    Never,
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// In `kvmc.toml`, for the cluster as a whole; a dot separates the table from the key. Empty where only a role
    /// has it.
    pub(crate) key: &'static str,
    /// In a role's table, where a role may have its own.
    pub(crate) role_key: Option<&'static str>,
    pub(crate) kind: Kind,
    /// As text, of every machine where roles may differ; empty for none.
    pub(crate) default: &'static str,
    pub(crate) flag: Option<Flag>,
    pub(crate) variable: Option<&'static str>,
    pub(crate) change: Change,
    /// One line for `--help`, without the default.
    pub(crate) help: &'static str,
    /// Has a meaning for a machine that an image is built in.
    pub(crate) builds: bool,
}

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// With its dashes.
    pub(crate) name: &'static str,
    /// What stands for its value in help.
    pub(crate) value: &'static str,
    /// Another name, for those who guess; without dashes.
    pub(crate) also: Option<&'static str>,
}

pub(super) const fn flag(name: &'static str, value: &'static str) -> Flag {
    Flag {
        name,
        value,
        also: None,
    }
}

impl Setting {
    const fn cluster(key: &'static str, kind: Kind, default: &'static str) -> Self {
        Self {
            key,
            role_key: None,
            kind,
            default,
            flag: None,
            variable: None,
            change: Change::Never,
            help: "",
            builds: false,
        }
    }

    /// One that a role may have its own of.
    const fn machine(
        key: &'static str,
        role_key: &'static str,
        kind: Kind,
        default: &'static str,
    ) -> Self {
        let mut row = Self::cluster(key, kind, default);
        row.role_key = Some(role_key);
        row
    }

    /// One that only roles have.
    const fn role(role_key: &'static str, kind: Kind, default: &'static str) -> Self {
        Self::machine("", role_key, kind, default)
    }

    const fn flag(mut self, name: &'static str, value: &'static str) -> Self {
        self.flag = Some(flag(name, value));
        self
    }

    const fn also(mut self, name: &'static str) -> Self {
        if let Some(flag) = &mut self.flag {
            flag.also = Some(name);
        }
        self
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }

    const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    const fn changes(mut self, change: Change) -> Self {
        self.change = change;
        self
    }

    /// The default as help says it, which is the same on every host; empty for none.
    pub(crate) fn shown_default(&self) -> &'static str {
        match self.kind {
            Kind::Architecture => "the host's",
            _ => self.default,
        }
    }

    const fn builds(mut self) -> Self {
        self.builds = true;
        self
    }
}

const HOST: &str = match Architecture::host() {
    Some(Architecture::Arm64) => "arm64",
    _ => "amd64",
};

/// All settings, in the order in which `kvmc config` and `--help` show them.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting::cluster("cluster", Kind::Cluster, "k80")
        .flag("--cluster", "NAME")
        .variable("KVMC_CLUSTER")
        .help("The cluster to work on"),
    Setting::cluster("architecture", Kind::Architecture, HOST)
        .flag("--arch", "ARCH")
        .also("cpu-architecture")
        .variable("CPU_ARCHITECTURE")
        .help("amd64 or arm64; the one that is not the host's is emulated")
        .builds(),
    Setting::cluster("accel", Kind::Accel, "auto")
        .flag("--accel", "WHICH")
        .variable("KVMC_ACCEL")
        .changes(Change::NextStart)
        .help("auto, kvm or tcg")
        .builds(),
    Setting::cluster("roles", Kind::Counts, "")
        .flag("--role", "NAME=N")
        .variable("KVMC_ROLES")
        .changes(Change::Live)
        .help("How many nodes of a role of any name, such as etcd=3; may be repeated"),
    Setting::role("count", Kind::Count, "1")
        .changes(Change::Live)
        .help("How many nodes"),
    Setting::role("prefix", Kind::Prefix, "")
        .help("What the nodes' names begin with [default: the role's name]"),
    Setting::role("groups", Kind::Groups, "")
        .changes(Change::Live)
        .help("Inventory groups of the nodes [default: the role's name]"),
    Setting::role("vars", Kind::Variables, "")
        .changes(Change::Live)
        .help("Inventory variables of the nodes"),
    Setting::role("networks", Kind::Words, "")
        .help("Networks beside the main one that the nodes are in [default: all]"),
    Setting::machine("vcpus", "vcpus", Kind::Vcpus, "4")
        .flag("--vcpus", "N")
        .variable("VIRTUAL_CPUS")
        .help("Virtual CPUs of each machine")
        .builds(),
    Setting::machine("ram", "ram", Kind::Ram, "2G")
        .flag("--ram", "SIZE")
        .variable("KVMC_RAM")
        .help("RAM of each machine, such as 2G or 512M")
        .builds(),
    Setting::machine("disk", "disk", Kind::Disk, "4G")
        .flag("--disk", "SIZE")
        .variable("DISK_SIZE")
        .help("Disk of each machine; a bare number is GB")
        .builds(),
    Setting::machine("restart", "restart", Kind::Restart, "never")
        .flag("--restart", "WHEN")
        .variable("KVMC_RESTART")
        .changes(Change::Live)
        .help("When a node that ended by itself starts again: never, on-failure or always"),
    Setting::cluster("network.bridge", Kind::Link, "k80")
        .flag("--bridge", "NAME")
        .variable("KVMC_BRIDGE")
        .help("The bridge"),
    Setting::cluster("network.subnet", Kind::Subnet, "192.168.80.0/24")
        .flag("--subnet", "CIDR")
        .variable("KVMC_SUBNET")
        .help("The cluster's network, or auto for one that is free"),
    Setting::cluster("network.isolated", Kind::Switch, "false")
        .flag("--isolated", "BOOL")
        .variable("KVMC_ISOLATED")
        .help("Cut the nodes off from all but each other and the host"),
    Setting::cluster("network.ipv6", Kind::Switch, "false")
        .flag("--ipv6", "BOOL")
        .variable("KVMC_IPV6")
        .help("IPv6 in the cluster's network: a prefix of its own, translated to the outside"),
    Setting::cluster("network.host_ports", Kind::HostPorts, "")
        .flag("--host-port", "PORT")
        .variable("KVMC_HOST_PORTS")
        .help("A port of the host that the nodes may reach, such as 8080, 69/udp or 30000-32767/tcp; may be repeated"),
    Setting::cluster("networks", Kind::Networks, "")
        .flag("--network", "NETWORK")
        .variable("KVMC_NETWORKS")
        .help("A further network, such as name=storage,subnet=10.81.0.0/24,ipv6; may be repeated"),
    Setting::cluster("forward", Kind::Forwards, "")
        .flag("--forward", "FORWARD")
        .variable("KVMC_FORWARD")
        .changes(Change::Live)
        .help("A port of the host that leads to a node, such as 8080:lbl0:80 or 53:lbl0:53/udp; may be repeated"),
    Setting::cluster("dns.domain", Kind::Text, "")
        .flag("--dns-domain", "NAME")
        .variable("KVMC_DNS_DOMAIN")
        .help("Domain of the cluster's names [default: CLUSTER.internal]"),
    Setting::cluster("dns.records", Kind::Records, "")
        .flag("--dns-record", "RECORD")
        .variable("KVMC_DNS_RECORDS")
        .changes(Change::Live)
        .help("A record for the cluster's name server, as in `www CNAME master0`; may be repeated"),
    Setting::machine("image.name", "image", Kind::Image, "")
        .flag("--image", "NAME|PATH|URL")
        .variable("KVMC_IMAGE")
        .help("Image of the nodes: a name, a file or an address [default: a template built here]"),
    Setting::machine("user_data", "user_data", Kind::Path, "")
        .flag("--user-data", "FILE")
        .variable("KVMC_USER_DATA")
        .help("A file for cloud-init (cloud-config, script, …), for images that have it"),
    Setting::cluster("image.suite", Kind::Text, "trixie")
        .flag("--suite", "NAME")
        .variable("KVMC_SUITE")
        .help("Debian's or Ubuntu's suite of the template, such as bookworm or noble")
        .builds(),
    Setting::cluster("image.mirror", Kind::Text, "")
        .flag("--mirror", "URL")
        .variable("KVMC_MIRROR")
        .help("Mirror for the template's packages [default: the host's]")
        .builds(),
    Setting::cluster("image.packages", Kind::Words, "")
        .flag("--package", "NAME")
        .variable("KVMC_PACKAGES")
        .help("A further package for the template; may be repeated")
        .builds(),
];

/// The row of a key of `kvmc.toml` that is the whole cluster's.
pub(crate) fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| !s.key.is_empty() && s.key == key)
}

/// The row of a key of a role's table.
pub(crate) fn role_setting(field: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.role_key == Some(field))
}

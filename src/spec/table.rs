//! The table of settings, one row each. Flags, variables, `kvmc config`, help, errors and README's table come from it.
//! A new setting is one more row here and its use in `check.rs`.

use kvmc_images::Architecture;

use super::kind::Kind;

/// Whether and how a setting of an existing cluster can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// `up` applies it to running nodes.
    Live,
    /// It applies to each node from its next start.
    NextStart,
    /// The cluster must be created again.
    Never,
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The key in `kvmc.toml` for the whole cluster; a dot separates the table from the key. Empty if only roles have
    /// it.
    pub(crate) key: &'static str,
    /// The key in a role's table, if roles can have their own value.
    pub(crate) role_key: Option<&'static str>,
    /// The key in a node's table, if it is a setting of single nodes.
    pub(crate) node_key: Option<&'static str>,
    pub(crate) kind: Kind,
    /// The default as text; empty for none.
    pub(crate) default: &'static str,
    /// A value for the commented cluster file, if there is no default; items of a list are apart by `; `.
    pub(crate) example: &'static str,
    pub(crate) flag: Option<Flag>,
    pub(crate) variable: Option<&'static str>,
    pub(crate) change: Change,
    /// One line for `--help`, without the default.
    pub(crate) help: &'static str,
    /// Whether it applies to a machine in which an image is built.
    pub(crate) builds: bool,
}

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// The name, with its dashes.
    pub(crate) name: &'static str,
    /// The placeholder for its value in help.
    pub(crate) value: &'static str,
    /// Another accepted name, without dashes.
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
            node_key: None,
            kind,
            default,
            example: "",
            flag: None,
            variable: None,
            change: Change::Never,
            help: "",
            builds: false,
        }
    }

    /// A setting of the cluster that roles can override.
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

    /// A setting that only roles have.
    const fn role(role_key: &'static str, kind: Kind, default: &'static str) -> Self {
        Self::machine("", role_key, kind, default)
    }

    /// A setting that only single nodes have.
    const fn node(node_key: &'static str, kind: Kind, default: &'static str) -> Self {
        let mut row = Self::cluster("", kind, default);
        row.node_key = Some(node_key);
        row
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

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
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

    /// The default for help, the same on every host; empty for none.
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

/// All settings, in the order of `kvmc config` and `--help`.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting::cluster("cluster", Kind::Cluster, "k80")
        .flag("--cluster", "NAME")
        .variable("KVMC_CLUSTER")
        .help("Cluster to work on"),
    Setting::cluster("architecture", Kind::Architecture, HOST)
        .flag("--arch", "ARCH")
        .also("cpu-architecture")
        .variable("CPU_ARCHITECTURE")
        .help("Architecture of the guests, amd64 or arm64; a foreign one is emulated")
        .builds(),
    Setting::cluster("accel", Kind::Accel, "auto")
        .flag("--accel", "WHICH")
        .variable("KVMC_ACCEL")
        .changes(Change::NextStart)
        .help("Accelerator: auto, kvm or tcg")
        .builds(),
    Setting::cluster("roles", Kind::Counts, "")
        .flag("--role", "NAME=N")
        .variable("KVMC_ROLES")
        .changes(Change::Live)
        .help("Number of nodes of a role, such as etcd=3; may be repeated"),
    Setting::role("count", Kind::Count, "1")
        .changes(Change::Live)
        .help("Number of nodes"),
    Setting::role("prefix", Kind::Prefix, "")
        .example("etcd")
        .help("Beginning of the nodes' names [default: the role's name]"),
    Setting::role("groups", Kind::Groups, "")
        .example("etcd; k8s_cluster")
        .changes(Change::Live)
        .help("Inventory groups of the nodes [default: the role's name]"),
    Setting::role("vars", Kind::Variables, "")
        .example("{ etcd_port = 2379 }")
        .changes(Change::Live)
        .help("Inventory variables of the nodes"),
    Setting::role("networks", Kind::Words, "")
        .example("storage")
        .help("Additional networks that the nodes have a NIC in [default: all]"),
    Setting::node("address", Kind::Address, "")
        .example("192.168.80.50")
        .help("Address of the node in the main network [default: the next free one]"),
    Setting::machine("vcpus", "vcpus", Kind::Vcpus, "4")
        .flag("--vcpus", "N")
        .variable("VIRTUAL_CPUS")
        .changes(Change::NextStart)
        .help("Virtual CPUs of each machine")
        .builds(),
    Setting::machine("ram", "ram", Kind::Ram, "2G")
        .flag("--ram", "SIZE")
        .variable("KVMC_RAM")
        .changes(Change::NextStart)
        .help("RAM of each machine, such as 2G or 512M")
        .builds(),
    Setting::machine("disk", "disk", Kind::Disk, "4G")
        .flag("--disk", "SIZE")
        .variable("DISK_SIZE")
        .changes(Change::Live)
        .help("Disk of each machine, by default at least its image; a bare number counts in G")
        .builds(),
    Setting::machine("disks", "disks", Kind::Disks, "")
        .example("20G")
        .flag("--disks", "SIZE")
        .variable("KVMC_DISKS")
        .help("Extra empty disk of each machine, such as 20G; the first is /dev/vdb; may be repeated"),
    Setting::machine("cpu", "cpu", Kind::Cpu, "")
        .example("max")
        .flag("--cpu", "MODEL")
        .variable("KVMC_CPU")
        .help("CPU model of each machine: host (with KVM), max, or another of QEMU's [default: host with KVM, else max without costly features]"),
    Setting::machine("nested", "nested", Kind::Nested, "")
        .example("true")
        .flag("--nested", "BOOL")
        .variable("KVMC_NESTED")
        .help("Let the nodes run KVM guests themselves, which needs KVM here [default: as the CPU model has it]"),
    Setting::machine("restart", "restart", Kind::Restart, "never")
        .flag("--restart", "WHEN")
        .variable("KVMC_RESTART")
        .changes(Change::Live)
        .help("When to restart a node that ended by itself: never, on-failure or always"),
    Setting::cluster("network.bridge", Kind::Link, "k80")
        .flag("--bridge", "NAME")
        .variable("KVMC_BRIDGE")
        .help("Bridge of the main network"),
    Setting::cluster("network.subnet", Kind::Subnet, "192.168.80.0/24")
        .flag("--subnet", "CIDR")
        .variable("KVMC_SUBNET")
        .help("Subnet of the main network, or auto for a free one"),
    Setting::cluster("network.isolated", Kind::Switch, "false")
        .flag("--isolated", "BOOL")
        .variable("KVMC_ISOLATED")
        .changes(Change::NextStart)
        .help("Let the nodes reach only each other and the host"),
    Setting::cluster("network.ipv6", Kind::Switch, "false")
        .flag("--ipv6", "BOOL")
        .variable("KVMC_IPV6")
        .help("Use IPv6 in the main network: its own prefix, with NAT to the outside"),
    Setting::cluster("network.host_ports", Kind::HostPorts, "")
        .example("8080")
        .flag("--host-port", "PORT")
        .variable("KVMC_HOST_PORTS")
        .changes(Change::Live)
        .help("Port of the host that the nodes may reach, such as 8080, 69/udp or 30000-32767/tcp; may be repeated"),
    Setting::cluster("network.reserved", Kind::Ranges, "")
        .example("192.168.80.200-192.168.80.250")
        .flag("--reserved", "RANGE")
        .variable("KVMC_RESERVED")
        .changes(Change::Live)
        .help("Addresses that kvmc gives to nobody, for virtual IPs, such as 192.168.80.200-192.168.80.250; may be repeated"),
    Setting::cluster("network.mtu", Kind::Mtu, "auto")
        .flag("--mtu", "BYTES")
        .variable("KVMC_MTU")
        .changes(Change::NextStart)
        .help("MTU of the networks, such as 9000; auto is the uplink's, at most 1500"),
    Setting::cluster("network.lldp", Kind::Switch, "false")
        .flag("--lldp", "BOOL")
        .variable("KVMC_LLDP")
        .changes(Change::NextStart)
        .help("Have the bridges pass LLDP frames from node to node"),
    Setting::cluster("network.reach_from", Kind::Links, "")
        .example("docker0")
        .flag("--reach-from", "LINK")
        .variable("KVMC_REACH_FROM")
        .changes(Change::Live)
        .help("A link of the host, such as docker0, whose machines may reach the nodes; may be repeated"),
    Setting::cluster("network.floating", Kind::Ranges, "")
        .example("10.244.0.0/16")
        .flag("--floating", "RANGE")
        .variable("KVMC_FLOATING")
        .changes(Change::Live)
        .help("Addresses that any node may send from beside its own and the reserved ones, such as 10.244.0.0/16 of pods; may be repeated"),
    Setting::cluster("network.spoof", Kind::Switch, "false")
        .flag("--spoof", "BOOL")
        .variable("KVMC_SPOOF")
        .changes(Change::Live)
        .help("Let the nodes send from any address"),
    Setting::cluster("networks", Kind::Networks, "")
        .example("name=storage,subnet=10.81.0.0/24")
        .flag("--network", "NETWORK")
        .variable("KVMC_NETWORKS")
        .help("Additional network, such as name=storage,subnet=10.81.0.0/24,ipv6; may be repeated"),
    Setting::cluster("forward", Kind::Forwards, "")
        .example("8080:lbl0:80")
        .flag("--forward", "FORWARD")
        .variable("KVMC_FORWARD")
        .changes(Change::Live)
        .help("Forward from a port of the host to a node, such as 8080:lbl0:80 or 53:lbl0:53/udp; may be repeated"),
    Setting::cluster("dns.domain", Kind::Text, "")
        .example("lab.internal")
        .flag("--dns-domain", "NAME")
        .variable("KVMC_DNS_DOMAIN")
        .help("Domain of the cluster's names [default: CLUSTER.internal]"),
    Setting::cluster("dns.records", Kind::Records, "")
        .example("www CNAME master0")
        .flag("--dns-record", "RECORD")
        .variable("KVMC_DNS_RECORDS")
        .changes(Change::Live)
        .help("Additional DNS record of the cluster, such as `www CNAME master0`; may be repeated"),
    Setting::cluster("dns.forward", Kind::Domains, "")
        .example("corp.local")
        .flag("--dns-forward", "NAME")
        .variable("KVMC_DNS_FORWARD")
        .changes(Change::Live)
        .help("Domain below .local or .test whose names the host's resolvers answer, such as corp.local; may be repeated"),
    Setting::cluster("dns.rebind_ok", Kind::Domains, "")
        .example("nip.io")
        .flag("--dns-rebind-ok", "NAME")
        .variable("KVMC_DNS_REBIND_OK")
        .changes(Change::Live)
        .help("Names whose addresses may be in the cluster's own range, such as nip.io; may be repeated"),
    Setting::cluster("files.folder", Kind::Path, "")
        .example(".kvmc")
        .flag("--files", "DIR")
        .variable("KVMC_FILES")
        .changes(Change::Live)
        .help("Folder for inventory, ssh_config, known_hosts and keys [default: .]"),
    Setting::cluster("inventory.password", Kind::Switch, "true")
        .flag("--inventory-password", "BOOL")
        .variable("KVMC_INVENTORY_PASSWORD")
        .changes(Change::Live)
        .help("Write the ssh password into the inventory, beside the key"),
    Setting::machine("image.name", "image", Kind::Image, "")
        .example("debian-13")
        .flag("--image", "NAME|PATH|URL")
        .variable("KVMC_IMAGE")
        .help("Image of the nodes: a name, a file or a URL [default: a template built here]"),
    Setting::machine("user_data", "user_data", Kind::Path, "")
        .example("user-data.yml")
        .flag("--user-data", "FILE")
        .variable("KVMC_USER_DATA")
        .help("File for cloud-init (cloud-config, script, …), for images that have it"),
    Setting::cluster("image.suite", Kind::Text, "trixie")
        .flag("--suite", "NAME")
        .variable("KVMC_SUITE")
        .help("Debian or Ubuntu suite of the template, such as bookworm or noble")
        .builds(),
    Setting::cluster("image.mirror", Kind::Text, "")
        .example("http://deb.example.org/debian")
        .flag("--mirror", "URL")
        .variable("KVMC_MIRROR")
        .help("Mirror for the template's packages [default: the host's]")
        .builds(),
    Setting::cluster("image.packages", Kind::Words, "")
        .example("vim; curl")
        .flag("--package", "NAME")
        .variable("KVMC_PACKAGES")
        .help("Additional package in the template; may be repeated")
        .builds(),
];

/// The row of a key for the whole cluster.
pub(crate) fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| !s.key.is_empty() && s.key == key)
}

/// The row of a key in a node's table.
pub(crate) fn node_setting(field: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.node_key == Some(field))
}

/// The row of a key in a role's table.
pub(crate) fn role_setting(field: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.role_key == Some(field))
}

//! The settings of `kvmc.toml` as flags.

use clap::Args;

use crate::spec::{Key, Layer, Source};

/// Settings as flags; all take what `kvmc.toml` takes.
#[derive(Debug, Default, Args)]
pub(crate) struct Flags {
    /// How many masters [default: 3]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    masters: Option<String>,
    /// How many workers [default: 3]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    workers: Option<String>,
    /// How many load balancers [default: 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    load_balancers: Option<String>,
    /// RAM of a master, such as 2G or 512M [default: 2G]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    master_ram: Option<String>,
    /// RAM of a worker [default: 4G]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    worker_ram: Option<String>,
    /// RAM of a load balancer [default: 2G]
    #[arg(
        long,
        value_name = "SIZE",
        allow_hyphen_values = true,
        alias = "load-balancer-ram"
    )]
    lbl_ram: Option<String>,
    /// When a master that ended by itself starts again: never, on-failure or always [default: never]
    #[arg(long, value_name = "WHEN")]
    master_restart: Option<String>,
    /// The same for workers [default: never]
    #[arg(long, value_name = "WHEN")]
    worker_restart: Option<String>,
    /// The same for load balancers [default: never]
    #[arg(long, value_name = "WHEN", alias = "load-balancer-restart")]
    lbl_restart: Option<String>,
    /// The cluster's network, or auto for one that is free [default: 192.168.80.0/24]
    #[arg(long, value_name = "CIDR")]
    subnet: Option<String>,
    /// The bridge [default: k80]
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Cut the nodes off from all but each other and the host
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    isolated: Option<String>,
    /// IPv6 in the cluster's network: a prefix of its own, translated to the outside
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<String>,
    /// A port of the host that the nodes may reach, such as 8080, 69/udp or 30000-32767/tcp; may be repeated
    #[arg(long, value_name = "PORT")]
    host_port: Vec<String>,
    /// A network more, such as name=storage,subnet=10.81.0.0/24,ipv6; may be repeated
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// A port of the host that leads to a node, such as 8080:lbl0:80 or 53:lbl0:53/udp; may be repeated
    #[arg(long, value_name = "FORWARD")]
    forward: Vec<String>,
    /// Domain of the cluster's names [default: CLUSTER.internal]
    #[arg(long, value_name = "NAME")]
    dns_domain: Option<String>,
    /// A record for the cluster's name server, as in `www CNAME master0`; may be repeated
    #[arg(long, value_name = "RECORD")]
    dns_record: Vec<String>,
    /// Image of the nodes: a name, a file or an address [default: a template built here]
    #[arg(long, value_name = "NAME|PATH|URL")]
    image: Option<String>,
    /// Image of the masters, where it is another
    #[arg(long, value_name = "NAME|PATH|URL")]
    master_image: Option<String>,
    /// Image of the workers
    #[arg(long, value_name = "NAME|PATH|URL")]
    worker_image: Option<String>,
    /// Image of the load balancers
    #[arg(long, value_name = "NAME|PATH|URL", alias = "load-balancer-image")]
    lbl_image: Option<String>,
    /// A file for cloud-init (cloud-config, script, …), for images that have it
    #[arg(long, value_name = "FILE")]
    user_data: Option<String>,
    #[command(flatten)]
    machine: MachineFlags,
    /// The master is a machine to build in, whose RAM is `--ram`.
    #[arg(skip)]
    is_of_machine: bool,
}

/// Settings of every machine, be it a node or one to build an image in.
#[derive(Debug, Default, Args)]
pub(crate) struct MachineFlags {
    /// Virtual CPUs of each machine [default: 4]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    vcpus: Option<String>,
    /// Disk of each machine; a bare number is GB [default: 4G]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    disk: Option<String>,
    /// auto, kvm or tcg [default: auto]
    #[arg(long, value_name = "WHICH")]
    accel: Option<String>,
    /// amd64 or arm64 [default: amd64]
    #[arg(long, value_name = "ARCH", alias = "cpu-architecture")]
    arch: Option<String>,
    /// Debian's or Ubuntu's suite of the template, such as bookworm or noble [default: trixie]
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Mirror for the template's packages [default: the host's]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// A package more for the template; may be repeated
    #[arg(long, value_name = "NAME")]
    package: Vec<String>,
}

impl Flags {
    /// No flag but the architecture's.
    pub(crate) fn of_architecture(arch: Option<String>) -> Self {
        let machine = MachineFlags {
            arch,
            ..MachineFlags::default()
        };
        Self {
            machine,
            ..Self::default()
        }
    }

    /// A cluster of one machine.
    pub(crate) fn of_machine(ram: Option<String>, machine: MachineFlags) -> Self {
        Self {
            master_ram: ram,
            machine,
            is_of_machine: true,
            ..Self::default()
        }
    }

    /// How a setting's flag was typed.
    fn name(&self, key: Key) -> &'static str {
        match key {
            Key::MasterRam if self.is_of_machine => "--ram",
            key => key.flag(),
        }
    }

    /// The flags given, as the uppermost layer of settings.
    pub(crate) fn layer(&self) -> Layer {
        let join = |all: &[String], by: &str| (!all.is_empty()).then(|| all.join(by));
        let packages = join(&self.machine.package, " ");
        let networks = join(&self.network, "; ");
        let host_ports = join(&self.host_port, " ");
        let forwards = join(&self.forward, " ");
        let records = join(&self.dns_record, "\n");
        [
            (Key::Masters, &self.masters),
            (Key::Workers, &self.workers),
            (Key::LoadBalancers, &self.load_balancers),
            (Key::Vcpus, &self.machine.vcpus),
            (Key::MasterRam, &self.master_ram),
            (Key::WorkerRam, &self.worker_ram),
            (Key::LblRam, &self.lbl_ram),
            (Key::Disk, &self.machine.disk),
            (Key::MasterRestart, &self.master_restart),
            (Key::WorkerRestart, &self.worker_restart),
            (Key::LblRestart, &self.lbl_restart),
            (Key::Subnet, &self.subnet),
            (Key::Bridge, &self.bridge),
            (Key::Isolated, &self.isolated),
            (Key::Ipv6, &self.ipv6),
            (Key::HostPorts, &host_ports),
            (Key::Networks, &networks),
            (Key::Forward, &forwards),
            (Key::Domain, &self.dns_domain),
            (Key::Records, &records),
            (Key::Accel, &self.machine.accel),
            (Key::Architecture, &self.machine.arch),
            (Key::Image, &self.image),
            (Key::MasterImage, &self.master_image),
            (Key::WorkerImage, &self.worker_image),
            (Key::LblImage, &self.lbl_image),
            (Key::UserData, &self.user_data),
            (Key::Suite, &self.machine.suite),
            (Key::Mirror, &self.machine.mirror),
            (Key::Packages, &packages),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, (value.clone()?, Source::Flag(self.name(key))))))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_named_as_it_was_typed() {
        let ram = Some("x".to_owned());
        let of_machine = Flags::of_machine(ram.clone(), MachineFlags::default());
        let of_cluster = Flags {
            master_ram: ram,
            ..Flags::default()
        };
        for (flags, name) in [(of_machine, "--ram"), (of_cluster, "--master-ram")] {
            let layer = flags.layer();
            assert!(
                matches!(layer.get(&Key::MasterRam), Some((value, Source::Flag(flag))) if value == "x" && *flag == name)
            );
        }
    }
}

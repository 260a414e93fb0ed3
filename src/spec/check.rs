//! From settings to a [`ClusterSpec`]: every error names the setting, the value, the limit and the
//! layer it came from.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use ipnetwork::Ipv4Network;
use kvmc_images::Architecture;
use kvmc_netns::firewall::HostPortError;
use kvmc_netns::range;

use super::settings::{Key, Settings};
use super::{AccelChoice, Bytes, ClusterSpec, DnsSpec, ImageSpec, Restart, Role, RoleSpec};
use super::{forward, networks};
use crate::spec::Reference;

/// Any subnet that is free.
pub(crate) const AUTO: &str = "auto";
/// The least RAM on which the template boots.
const LEAST_RAM: Bytes = Bytes::mib(256);
/// More than any machine QEMU is run on today; catches slips such as `100T`.
const MOST_RAM: Bytes = Bytes::gib(12 * 1024);
/// QEMU's q35 and virt take more, but no host of ours has them.
const MOST_VCPUS: u32 = 255;
const LEAST_DISK: Bytes = Bytes::gib(1);
const MOST_DISK: Bytes = Bytes::gib(64 * 1024);

/// Checks settings without looking at the host.
///
/// # Errors
/// The first setting that is wrong, with its value, where it came from, and what would be right.
pub(crate) fn check(settings: &Settings) -> Result<ClusterSpec> {
    let at = |key: Key, why: String| match settings.source(key).is_asked() {
        true => anyhow!("{}: {why} (from {})", key.name(), settings.source(key)),
        false => anyhow!("{}: {why}", key.name()),
    };
    let name = settings.value(Key::Cluster).to_owned();
    validate_cluster_name(&name).map_err(|e| at(Key::Cluster, e))?;
    let architecture = settings
        .value(Key::Architecture)
        .parse::<Architecture>()
        .map_err(|e| at(Key::Architecture, e.to_string()))?;
    let accel = match settings.value(Key::Accel) {
        "auto" => AccelChoice::Auto,
        "kvm" => AccelChoice::Kvm,
        "tcg" => AccelChoice::Tcg,
        other => {
            return Err(at(
                Key::Accel,
                format!("`{other}` is none of auto, kvm, tcg"),
            ));
        }
    };
    let count = |key: Key| number(settings.value(key)).map_err(|e| at(key, e));
    let ram = |key: Key| ram(settings.value(key)).map_err(|e| at(key, e));
    let restart = |key: Key| Restart::parse(settings.value(key)).map_err(|e| at(key, e));
    let switch = |key: Key| networks::boolean(settings.value(key)).map_err(|e| at(key, e));
    let mut spec = ClusterSpec {
        name,
        architecture,
        accel,
        masters: RoleSpec {
            count: count(Key::Masters)?,
            ram: ram(Key::MasterRam)?,
            restart: restart(Key::MasterRestart)?,
        },
        workers: RoleSpec {
            count: count(Key::Workers)?,
            ram: ram(Key::WorkerRam)?,
            restart: restart(Key::WorkerRestart)?,
        },
        load_balancers: RoleSpec {
            count: count(Key::LoadBalancers)?,
            ram: ram(Key::LblRam)?,
            restart: restart(Key::LblRestart)?,
        },
        vcpus: vcpus(settings.value(Key::Vcpus)).map_err(|e| at(Key::Vcpus, e))?,
        disk: disk(settings.value(Key::Disk)).map_err(|e| at(Key::Disk, e))?,
        subnet: subnet(settings.value(Key::Subnet)).map_err(|e| at(Key::Subnet, e.to_string()))?,
        bridge: settings.value(Key::Bridge).to_owned(),
        isolated: switch(Key::Isolated)?,
        ipv6: switch(Key::Ipv6)?,
        host_ports: settings
            .words(Key::HostPorts)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|e: HostPortError| at(Key::HostPorts, e.to_string()))?,
        networks: Vec::new(),
        forwards: Vec::new(),
        dns: DnsSpec::new(settings.value(Key::Domain), settings.value(Key::Records)),
        image: ImageSpec {
            name: image_name(settings.value(Key::Image)).map_err(|e| at(Key::Image, e))?,
            roles: image_roles(settings, &at)?,
            user_data: match settings.value(Key::UserData) {
                "" => None,
                path => {
                    Some(std::path::absolute(path).map_err(|e| at(Key::UserData, e.to_string()))?)
                }
            },
            suite: settings.value(Key::Suite).to_owned(),
            mirror: Some(settings.value(Key::Mirror).to_owned()).filter(|m| !m.is_empty()),
            packages: settings.packages(),
        },
    };
    range::validate_link_name(&spec.bridge).map_err(|e| at(Key::Bridge, e.to_string()))?;
    if spec.masters.count == 0 {
        return Err(at(
            Key::Masters,
            "0 masters; a cluster needs at least 1".to_owned(),
        ));
    }
    check_room(&spec)?;
    spec.networks = networks::parse(settings.value(Key::Networks), spec.subnet, &spec.bridge)
        .map_err(|e| at(Key::Networks, e))?;
    for network in &spec.networks {
        fits(&spec, network.subnet, "the network's subnet")?;
    }
    let nodes: Vec<_> = spec.node_names().into_iter().map(|(n, _)| n).collect();
    spec.forwards =
        forward::parse(settings.value(Key::Forward), &nodes).map_err(|e| at(Key::Forward, e))?;
    let domain = spec.check_domain().map_err(|e| at(Key::Domain, e))?;
    spec.check_records(domain)
        .map_err(|e| at(Key::Records, e))?;
    let open = spec.forwards.iter().find(|f| !f.is_on_loopback());
    if let (true, Some(open)) = (spec.isolated, open) {
        let why = format!(
            "`{open}`: the network is isolated, and nothing outside may reach its nodes; forward it on 127.0.0.1 alone"
        );
        return Err(at(Key::Forward, why));
    }
    Ok(spec)
}

/// Role images that are asked for.
fn image_roles(
    settings: &Settings,
    at: &impl Fn(Key, String) -> anyhow::Error,
) -> Result<BTreeMap<Role, String>> {
    let mut roles = BTreeMap::new();
    for (role, key) in [
        (Role::Master, Key::MasterImage),
        (Role::Worker, Key::WorkerImage),
        (Role::LoadBalancer, Key::LblImage),
    ] {
        let name = image_name(settings.value(key)).map_err(|e| at(key, e))?;
        if !name.is_empty() {
            roles.insert(role, name);
        }
    }
    Ok(roles)
}

/// An image as it was asked for; a path holds from any folder.
fn image_name(text: &str) -> Result<String, String> {
    if text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(format!("`{}` is no image", text.escape_debug()));
    }
    match Reference::parse(text) {
        Reference::File(path) => std::path::absolute(&path)
            .map(|p| p.display().to_string())
            .map_err(|e| format!("`{text}`: {e}")),
        _ => Ok(text.to_owned()),
    }
}

/// A subnet as asked for; the one that `auto` comes to is found by `up`, which looks at the host.
fn subnet(text: &str) -> Result<Ipv4Network, range::SubnetError> {
    match text {
        AUTO => range::validate_subnet(Key::Subnet.default()),
        text => range::validate_subnet(text),
    }
}

/// The addresses nodes can have in a subnet: all but network, broadcast and the host's own.
pub(crate) fn room(subnet: Ipv4Network) -> u64 {
    u64::from(subnet.size()).saturating_sub(3)
}

fn check_room(spec: &ClusterSpec) -> Result<()> {
    fits(spec, spec.subnet, "--subnet")
}

fn fits(spec: &ClusterSpec, subnet: Ipv4Network, cure: &str) -> Result<()> {
    let nodes = u64::from(spec.masters.count)
        + u64::from(spec.workers.count)
        + u64::from(spec.load_balancers.count);
    let room = room(subnet);
    if nodes > room {
        bail!(
            "{nodes} nodes do not fit in /{}: {subnet} has {room} addresses for nodes; ask for fewer or pass a larger {cure}",
            subnet.prefix(),
        );
    }
    Ok(())
}

fn number(text: &str) -> Result<u32, String> {
    text.trim()
        .parse::<u32>()
        .map_err(|_| format!("`{text}` is not a whole number of nodes (0 or more)"))
}

fn vcpus(text: &str) -> Result<u32, String> {
    match text.trim().parse::<u32>() {
        Ok(n) if (1..=MOST_VCPUS).contains(&n) => Ok(n),
        _ => Err(format!("`{text}` vcpus; a node can have 1 to {MOST_VCPUS}")),
    }
}

fn ram(text: &str) -> Result<Bytes, String> {
    let ram = Bytes::parse_ram(text)?;
    if ram < LEAST_RAM {
        return Err(format!("`{text}` of RAM; a node needs {LEAST_RAM} or more"));
    }
    if ram > MOST_RAM {
        return Err(format!(
            "`{text}` of RAM; a node can have {MOST_RAM} at most"
        ));
    }
    Ok(ram)
}

fn disk(text: &str) -> Result<Bytes, String> {
    let disk = Bytes::parse_disk(text)?;
    if disk < LEAST_DISK {
        return Err(format!(
            "disk of `{text}` is smaller than the template; {LEAST_DISK} or more"
        ));
    }
    if disk > MOST_DISK {
        return Err(format!("disk of `{text}`; {MOST_DISK} at most"));
    }
    Ok(disk)
}

/// A cluster's name is a folder's name and part of QEMU's `-name`.
///
/// # Errors
/// The rule that is broken, in words.
pub(crate) fn validate_cluster_name(name: &str) -> Result<(), String> {
    let fine = !name.is_empty()
        && name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fine {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not a cluster name: 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Layer, Source};
    use super::*;

    fn with(key: Key, value: &str) -> Result<ClusterSpec, String> {
        let layer = Layer::from([(key, (value.to_owned(), Source::Flag(key.flag())))]);
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_the_scripts_cluster() {
        let spec = check(&Settings::resolve([])).unwrap();
        let names: Vec<_> = spec.node_names().into_iter().map(|(n, _)| n).collect();
        assert_eq!(
            names,
            [
                "master0", "master1", "master2", "worker0", "worker1", "worker2", "lbl0"
            ]
        );
        assert_eq!(spec.disk, Bytes::gib(4));
        assert_eq!(spec.bridge, "k80");
    }

    #[test]
    fn the_documented_misspelling_is_taken() {
        assert_eq!(
            with(Key::Architecture, "adm64").unwrap().architecture,
            Architecture::Amd64
        );
        assert!(with(Key::Architecture, "sparc").is_err());
    }

    #[test]
    fn bad_values_are_named() {
        for (key, bad, expected) in [
            (Key::Masters, "0", "at least 1"),
            (Key::Workers, "-1", "`-1` is not a whole number"),
            (Key::Workers, "300", "304 nodes do not fit in /24"),
            (Key::MasterRam, "2gb", "`2gb` is not a size"),
            (Key::MasterRam, "0", "has no unit"),
            (Key::MasterRam, "0G", "needs 256M or more"),
            (Key::WorkerRam, "100T", "12T at most"),
            (Key::Disk, "0", "smaller than the template"),
            (Key::Vcpus, "0", "1 to 255"),
            (Key::Subnet, "192.168.80.5/24", "192.168.80.0/24"),
            (Key::Subnet, "fd00::/64", "IPv6"),
            (Key::Subnet, "10.0.0.0/31", "/31"),
            (Key::Bridge, "kvmc-cluster-br1", "15"),
            (Key::Accel, "xen", "none of auto, kvm, tcg"),
            (
                Key::WorkerRestart,
                "sometimes",
                "none of never, on-failure, always",
            ),
            (Key::Cluster, "../x", "not a cluster name"),
            (Key::HostPorts, "80 http", "`http` is no port"),
            (Key::Ipv6, "perhaps", "neither true nor false"),
            (
                Key::Networks,
                "name=a,subnet=10.9.0.0/30",
                "7 nodes do not fit in /30",
            ),
            (Key::Networks, "name=a", "no subnet"),
            (Key::Forward, "80:lbl1:80", "no node `lbl1`"),
        ] {
            let error = with(key, bad).unwrap_err();
            assert!(error.contains(expected), "{}={bad}: {error}", key.name());
        }
    }
}

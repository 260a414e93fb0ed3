//! Turns settings into a [`ClusterSpec`]. Every error names the setting, the value, what is accepted, and the layer
//! that the value came from.

use ipnetwork::Ipv4Network;

use super::cluster::{ClusterSpec, TemplateSpec};
use super::dns::DnsSpec;
use super::error::SpecError;
use super::files::FilesSpec;
use super::key::Key;
use super::reader::Reader;
use super::role::{RoleSpec, is_default_role};
use super::settings::Settings;
use super::value::Value;
use super::{forward, networks, nodes};

/// `BR_MAX_PORTS` of the kernel's net/bridge/br_private.h, less port 0, which is never used.
const MOST_NODES: u64 = 1023;

/// Checks settings, without access to the host.
///
/// # Errors
/// Fails at the first wrong setting, with its value, its source and what is accepted.
pub(crate) fn check(settings: &Settings) -> Result<ClusterSpec, SpecError> {
    let of = Reader(settings);
    settings.cluster("roles")?;
    let roles = of.roles()?;
    let spec = ClusterSpec {
        name: of.text("cluster")?,
        architecture: of.architecture()?,
        accel: of.accel()?,
        nodes: nodes::read(settings, &roles)?,
        subnet: of.subnet()?,
        bridge: of.text("network.bridge")?,
        isolated: of.switch("network.isolated")?,
        ipv6: of.switch("network.ipv6")?,
        host_ports: match settings.cluster("network.host_ports")? {
            Value::HostPorts(ports) => ports.clone(),
            _ => Vec::new(),
        },
        networks: match settings.cluster("networks")? {
            Value::Networks(networks) => networks.clone(),
            _ => Vec::new(),
        },
        forwards: of.forwards(&roles)?,
        roles,
        lan: of.lan()?,
        dns: DnsSpec {
            forward: of.list("dns.forward")?,
            rebind_ok: of.list("dns.rebind_ok")?,
            ..DnsSpec::new(of.text("dns.domain")?, of.list("dns.records")?)
        },
        files: FilesSpec::new(&of.text("files.folder")?, of.switch("inventory.password")?),
        template: TemplateSpec {
            suite: of.text("image.suite")?,
            mirror: Some(of.text("image.mirror")?).filter(|m| !m.is_empty()),
            packages: of.list("image.packages")?,
        },
    };
    check_together(&spec, settings)?;
    Ok(spec)
}

/// Checks settings against each other.
fn check_together(spec: &ClusterSpec, settings: &Settings) -> Result<(), SpecError> {
    let at = |key: Key| move |why: String| settings.error(&key, why);
    // This comes first, because the later checks visit all nodes, and there may be billions.
    fits(spec, spec.subnet).map_err(|why| {
        let error = SpecError::of("network.subnet", why);
        error.with_hint("choose fewer nodes or a larger --subnet")
    })?;
    if nodes(spec) > MOST_NODES {
        let why = format!(
            "{} nodes are too many; a Linux bridge has at most {MOST_NODES} ports",
            nodes(spec)
        );
        return Err(SpecError::of("roles", why));
    }
    check_roles(spec, settings)?;
    networks::check(&spec.networks, spec.subnet, &spec.bridge)
        .map_err(at(Key::cluster("networks")))?;
    for network in &spec.networks {
        fits(spec, network.subnet).map_err(|why| {
            let error = settings.error(&Key::cluster("networks"), why);
            error.with_hint("choose fewer nodes or a larger subnet for the network")
        })?;
    }
    spec.check_reserved()
        .map_err(at(Key::cluster("network.reserved")))?;
    spec.check_floating()
        .map_err(at(Key::cluster("network.floating")))?;
    nodes::check(spec, settings)?;
    check_lan(spec, settings)?;
    let nodes: Vec<_> = spec.node_names().map(|(name, _)| name).collect();
    let forwards = Key::cluster("forward");
    forward::check_nodes(&spec.forwards, &nodes).map_err(at(forwards.clone()))?;
    let domain = spec.check_domain().map_err(|why| {
        // The default domain is made of the cluster's name.
        let field = match spec.dns.domain_asked().is_empty() {
            true => "cluster",
            false => "dns.domain",
        };
        settings.error(&Key::cluster(field), why)
    })?;
    spec.check_records(domain)
        .map_err(at(Key::cluster("dns.records")))?;
    let open = spec.forwards.iter().find(|f| !f.is_on_loopback());
    if let (true, Some(open)) = (spec.isolated, open) {
        let why =
            format!("`{open}`: the network is isolated, so only this host may reach its nodes");
        let error = settings.error(&forwards, why);
        return Err(error.with_hint("use the host address 127.0.0.1"));
    }
    Ok(())
}

/// Refuses an MTU too small for IPv6, and a way into an isolated network.
fn check_lan(spec: &ClusterSpec, settings: &Settings) -> Result<(), SpecError> {
    /// The least that IPv6 asks of a link (RFC 8200 section 5), in bytes.
    const LEAST_FOR_IPV6: u32 = 1280;
    let has_ipv6 = spec.ipv6 || spec.networks.iter().any(|n| n.ipv6);
    if let Some(mtu) = spec.lan.mtu.filter(|m| has_ipv6 && *m < LEAST_FOR_IPV6) {
        let why = format!("`{mtu}` bytes; IPv6 needs {LEAST_FOR_IPV6} or more");
        return Err(settings.error(&Key::cluster("network.mtu"), why));
    }
    if let (true, Some(link)) = (spec.isolated, spec.lan.reach_from.first()) {
        let why = format!("`{link}`: the network is isolated, and nothing outside may reach it");
        return Err(settings.error(&Key::cluster("network.reach_from"), why));
    }
    Ok(())
}

/// Refuses a cluster without nodes, two nodes with one name, and roles that name an unknown network.
fn check_roles(spec: &ClusterSpec, settings: &Settings) -> Result<(), SpecError> {
    if let Some(key) = settings.stray() {
        let role = key.role_name().unwrap_or_default();
        let names: Vec<_> = spec.roles.iter().map(|r| r.name.as_str()).collect();
        let why = format!("unknown role `{role}`; expected {}", names.join(", "));
        let hint = format!("--role {role}=1 adds the role");
        return Err(settings.error(key, why).with_hint(hint));
    }
    let is_default = |role: &RoleSpec| is_default_role(&role.name);
    let masters = spec.roles.iter().find(|r| r.name == "masters");
    if let Some(masters) = masters
        && masters.count == 0
        && spec.roles.iter().all(is_default)
    {
        let key = Key::role("masters", "count");
        return Err(settings.error(&key, "0 masters; a cluster needs at least 1"));
    }
    if spec.roles.iter().all(|r| r.count == 0) {
        let names: Vec<_> = spec.roles.iter().map(|r| r.name.as_str()).collect();
        return Err(SpecError::of(
            "roles",
            format!(
                "no role has a node ({}); a cluster needs at least one",
                names.join(", ")
            ),
        ));
    }
    let mut seen = std::collections::HashMap::new();
    for (name, role) in spec.node_names() {
        if let Some(other) = seen.insert(name.clone(), &role.name) {
            let key = Key::role(&role.name, "prefix");
            let why = format!("`{name}` is also a node of the role {other}");
            let error = settings.error(&key, why);
            return Err(error.with_hint("give one of the roles another prefix"));
        }
    }
    for role in &spec.roles {
        let known = |name: &&String| spec.networks.iter().all(|n| n.name != **name);
        let unknown = role.networks.iter().flatten().find(known);
        if let Some(unknown) = unknown {
            let names: Vec<_> = spec.networks.iter().map(|n| n.name.as_str()).collect();
            let there = match names.is_empty() {
                true => "the cluster has only its main network".to_owned(),
                false => format!("expected {}", names.join(", ")),
            };
            let key = Key::role(&role.name, "networks");
            return Err(settings.error(&key, format!("unknown network `{unknown}`; {there}")));
        }
    }
    Ok(())
}

/// Number of addresses for nodes in a subnet: all but the network's, the broadcast and the host's address.
pub(crate) fn room(subnet: Ipv4Network) -> u64 {
    u64::from(subnet.size()).saturating_sub(3)
}

fn nodes(spec: &ClusterSpec) -> u64 {
    spec.roles.iter().map(|r| u64::from(r.count)).sum()
}

fn fits(spec: &ClusterSpec, subnet: Ipv4Network) -> Result<(), String> {
    let nodes = nodes(spec);
    let room = room(subnet).saturating_sub(spec.reserved_in(subnet));
    if nodes > room {
        return Err(format!(
            "{nodes} nodes do not fit in /{}; {subnet} has {room} addresses for nodes",
            subnet.prefix(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kvmc_images::Architecture;

    use super::super::given::Layer;
    use super::super::size::Bytes;
    use super::super::{Source, parse_file};
    use super::*;

    fn with(key: &str, value: &str) -> Result<ClusterSpec, String> {
        let mut layer = Layer::default();
        let source = Source::Flag("--x".to_owned());
        layer.set_text(Key::parse(key).unwrap(), value, source);
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    fn of_file(text: &str) -> Result<ClusterSpec, String> {
        let layer = parse_file("kvmc.toml".as_ref(), text).map_err(|e| e.to_string())?;
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    fn names(spec: &ClusterSpec) -> Vec<String> {
        spec.node_names().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_defaults_are_the_cluster_of_the_scripts() {
        let spec = check(&Settings::resolve([])).unwrap();
        assert_eq!(
            names(&spec),
            [
                "master0", "master1", "master2", "worker0", "worker1", "worker2", "lbl0"
            ]
        );
        assert!(spec.roles.iter().all(|r| r.disk == Bytes::gib(4)));
        let ram: Vec<_> = spec.roles.iter().map(|r| r.ram.to_string()).collect();
        assert_eq!(ram, ["2G", "4G", "2G"]);
        assert_eq!(spec.bridge, "k80");
    }

    #[test]
    fn roles_of_any_name_have_their_own_machines_and_groups() {
        let spec = of_file(
            "ram = \"1G\"\n[roles.kube_control_plane]\ncount = 2\ngroups = [\"kube_control_plane\", \"etcd\"]\nvars = { a = 1 }\n[roles.none]\ncount = 0\n[roles.big]\nram = \"8G\"\nvcpus = 2\nprefix = \"b\"\n",
        )
        .unwrap();
        assert_eq!(
            names(&spec),
            ["kube-control-plane0", "kube-control-plane1", "b0"]
        );
        let [plane, none, big] = &spec.roles[..] else {
            panic!("{:?}", spec.roles)
        };
        assert_eq!(plane.groups, ["kube_control_plane", "etcd"]);
        assert_eq!(
            (plane.ram, plane.vars["a"].clone()),
            (Bytes::gib(1), 1.into())
        );
        assert_eq!(
            (none.count, &none.groups[..]),
            (0, &["none".to_owned()][..])
        );
        assert_eq!((big.ram, big.vcpus), (Bytes::gib(8), 2));
    }

    #[test]
    fn default_roles_stay_beside_the_users_roles_only_where_they_are_named() {
        let all = of_file("masters = 1\n[roles.etcd]\n[roles.workers]\n").unwrap();
        assert_eq!(
            names(&all),
            ["master0", "etcd0", "worker0", "worker1", "worker2"]
        );
        let tuned = of_file("[roles.workers]\ndisk = 8\n").unwrap();
        assert_eq!(names(&tuned).len(), 7);
        let added = with("roles", "etcd=3").unwrap();
        assert_eq!(names(&added).len(), 10);
        assert!(
            of_file("[roles.a]\ncount = 0\n")
                .unwrap_err()
                .contains("no role has a node (a)")
        );
    }

    #[test]
    fn duplicate_node_names_and_unknown_networks_are_refused() {
        for (text, expected) in [
            (
                "[roles.a]\nprefix = \"n\"\n[roles.b]\nprefix = \"n\"\n",
                "`n0` is also a node of the role a",
            ),
            (
                "[roles.n]\ncount = 11\n[roles.m]\nprefix = \"n1\"\n",
                "`n10` is also a node of the role n",
            ),
            (
                "[roles.a]\nnetworks = [\"b\"]\n",
                "unknown network `b`; the cluster has only its main network",
            ),
            (
                "[roles.a]\ngroups = [\"all\"]\n",
                "roles.a.groups: `all` is not an inventory group",
            ),
        ] {
            let error = of_file(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn more_nodes_than_a_bridge_has_ports_are_refused_at_once() {
        let text = "[network]\nsubnet = \"10.0.0.0/16\"\n[roles.a]\ncount = ";
        for (count, expected) in [
            (
                "1024",
                "roles: 1024 nodes are too many; a Linux bridge has at most 1023 ports",
            ),
            ("4294967295", "4294967295 nodes do not fit in /16"),
        ] {
            let error = of_file(&format!("{text}{count}\n")).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(of_file(&format!("{text}1023\n")).is_ok());
    }

    #[test]
    fn the_documented_misspelling_is_accepted() {
        assert_eq!(
            with("architecture", "adm64").unwrap().architecture,
            Architecture::Amd64
        );
        assert!(with("architecture", "sparc").is_err());
    }

    #[test]
    fn wrong_values_are_named() {
        for (key, bad, expected) in [
            ("masters", "0", "at least 1"),
            ("workers", "-1", "`-1` is not a number of nodes"),
            ("workers", "300", "304 nodes do not fit in /24"),
            ("master_ram", "2gb", "`2gb` is not a size"),
            ("master_ram", "0", "has no unit"),
            ("master_ram", "0G", "expected 256M or more"),
            ("worker_ram", "100T", "expected 12T or less"),
            ("disk", "0", "smaller than the template"),
            ("vcpus", "0", "1 to 255"),
            ("network.subnet", "192.168.80.5/24", "192.168.80.0/24"),
            ("network.subnet", "fd00::/64", "IPv6"),
            ("network.subnet", "10.0.0.0/31", "/31"),
            ("network.bridge", "kvmc-cluster-br1", "15"),
            (
                "accel",
                "xen",
                "unknown accelerator `xen`; expected auto, kvm or tcg",
            ),
            (
                "worker_restart",
                "sometimes",
                "unknown restart policy `sometimes`; expected never, on-failure or always",
            ),
            ("cluster", "../x", "not a cluster name"),
            ("cluster", "a-", "cluster: `a-.internal` has a label"),
            ("dns.domain", "a-.x", "dns.domain: `a-.x` has a label"),
            ("network.host_ports", "80 http", "`http`"),
            ("network.ipv6", "perhaps", "expected true or false"),
            (
                "networks",
                "name=a,subnet=10.9.0.0/30",
                "7 nodes do not fit in /30",
            ),
            ("networks", "name=a", "no subnet"),
            ("forward", "80:lbl1:80", "unknown node `lbl1`"),
            ("roles", "etcd", "not a role with its number"),
            ("roles", "Etcd=1", "not a role name"),
            ("roles.masters.vars", "[1]", "not a JSON object"),
            (
                "roles.etcd.ram",
                "1G",
                "unknown role `etcd`; expected masters, workers, load_balancers",
            ),
        ] {
            let error = with(key, bad).unwrap_err();
            assert!(error.contains(expected), "{key}={bad}: {error}");
        }
    }
}

//! Settings of single nodes: `[nodes.NAME]` in `kvmc.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::cluster::ClusterSpec;
use super::error::SpecError;
use super::key::Key;
use super::node::NodeSpec;
use super::role::RoleSpec;
use super::settings::Settings;
use super::value::Value;

const ADDRESS: &str = "address";

impl Settings {
    /// The settings of single nodes that any layer has.
    pub(super) fn node_keys(&self) -> BTreeSet<Key> {
        let keys = self.layers.iter().flat_map(|l| l.entries.keys());
        keys.filter(|k| k.node.is_some()).cloned().collect()
    }
}

impl ClusterSpec {
    /// The settings of single nodes, to compare them with others.
    pub(super) fn node_values(&self) -> Vec<(Key, Value)> {
        let of = |(name, node): (&String, &NodeSpec)| {
            let address = node.address?;
            Some((Key::node(name, ADDRESS), Value::Address(address)))
        };
        self.nodes.iter().filter_map(of).collect()
    }

    /// The address that a node was given, if any.
    pub(crate) fn given_address(&self, node: &str) -> Option<Ipv4Addr> {
        self.nodes.get(node)?.address
    }

    /// All addresses that nodes were given.
    pub(crate) fn given_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.nodes.values().filter_map(|n| n.address)
    }
}

/// Reads the settings of single nodes. An existing cluster may have settings of a node that it has no more; these are
/// left out.
pub(super) fn read(
    settings: &Settings,
    roles: &[RoleSpec],
) -> Result<BTreeMap<String, NodeSpec>, SpecError> {
    let mut nodes = BTreeMap::new();
    for key in settings.node_keys() {
        let Some(name) = key.node.clone() else {
            continue;
        };
        if !settings.source(&key).is_asked() && !roles.iter().any(|r| r.has_node(&name)) {
            continue;
        }
        if let Value::Address(address) = settings.value(&key)? {
            let address = Some(*address);
            nodes.insert(name, NodeSpec { address });
        }
    }
    Ok(nodes)
}

/// Checks the settings of single nodes against the cluster.
pub(super) fn check(spec: &ClusterSpec, settings: &Settings) -> Result<(), SpecError> {
    let mut seen: BTreeMap<Ipv4Addr, &str> = BTreeMap::new();
    for (name, node) in &spec.nodes {
        let key = Key::node(name, ADDRESS);
        let fail = |why: String| Err(settings.error(&key, why));
        if !spec.roles.iter().any(|r| r.has_node(name)) {
            let names: Vec<_> = spec.node_names().map(|(n, _)| n).collect();
            return fail(format!(
                "unknown node `{name}`; expected {}",
                names.join(", ")
            ));
        }
        let Some(address) = node.address else {
            continue;
        };
        if let Some(why) = unfit(spec, address) {
            return fail(why);
        }
        if let Some(other) = seen.insert(address, name) {
            return fail(format!("`{address}` is also the address of {other}"));
        }
    }
    Ok(())
}

/// Why no node can have an address.
fn unfit(spec: &ClusterSpec, address: Ipv4Addr) -> Option<String> {
    let subnet = spec.subnet;
    let ends = [Some(subnet.network()), Some(subnet.broadcast())];
    if !subnet.contains(address) {
        return Some(format!(
            "`{address}` is outside of the main network; expected an address in {subnet}"
        ));
    }
    if ends.contains(&Some(address)) {
        return Some(format!(
            "`{address}` is the first or last address of {subnet}, which no machine can have"
        ));
    }
    if subnet.iter().nth(1) == Some(address) {
        return Some(format!("`{address}` is the host's own address"));
    }
    spec.is_reserved(address)
        .then(|| format!("`{address}` is reserved by network.reserved"))
}

#[cfg(test)]
mod tests {
    use super::super::{Layer, Source, check, parse_file};
    use super::*;

    fn of(text: &str) -> Result<ClusterSpec, String> {
        let layer = parse_file("kvmc.toml".as_ref(), text).map_err(|e| e.to_string())?;
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    #[test]
    fn a_node_has_the_address_that_its_table_gives() {
        let spec = of("[nodes.master1]\naddress = \"192.168.80.50\"\n").unwrap();
        let address = spec.given_address("master1").unwrap();
        assert_eq!(address.to_string(), "192.168.80.50");
        assert_eq!(spec.given_address("master0"), None);
    }

    #[test]
    fn an_address_that_no_node_can_have_is_refused_with_its_line() {
        let reserved = "[network]\nreserved = [\"192.168.80.200-192.168.80.250\"]\n";
        let node = |name: &str, address: &str| format!("[nodes.{name}]\naddress = \"{address}\"\n");
        for (text, expected) in [
            (
                node("master0", "10.0.0.1"),
                "outside of the main network; expected an address in 192.168.80.0/24 (from kvmc.toml:2)",
            ),
            (node("master0", "192.168.80.0"), "first or last address"),
            (node("master0", "192.168.80.255"), "first or last address"),
            (node("master0", "192.168.80.1"), "the host's own address"),
            (
                format!("{reserved}{}", node("master0", "192.168.80.210")),
                "is reserved by network.reserved (from kvmc.toml:4)",
            ),
            (
                node("master0", "192.168.80.9") + &node("worker0", "192.168.80.9"),
                "is also the address of master0 (from kvmc.toml:4)",
            ),
            (
                node("master7", "192.168.80.9"),
                "unknown node `master7`; expected master0, master1",
            ),
            (node("master00", "192.168.80.9"), "unknown node `master00`"),
            (
                node("master0", "one"),
                "`one` is not an address; expected a form such as 192.168.80.50",
            ),
            (
                "[nodes.master0]\nadress = 1\n".to_owned(),
                "kvmc.toml:2: unknown key `adress`; did you mean `address`?",
            ),
            (
                "nodes = 1\n".to_owned(),
                "`nodes` must be a table; write [nodes]",
            ),
            (
                "[nodes.master0]\naddress = 5\n".to_owned(),
                "`nodes.master0.address` must be a string",
            ),
        ] {
            let error = of(&text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_setting_of_a_node_that_left_is_forgotten() {
        let mut before = of("[nodes.worker2]\naddress = \"192.168.80.50\"\n").unwrap();
        let mut layer = Layer::default();
        layer.set_text(
            Key::parse("workers").unwrap(),
            "2",
            Source::Flag("--workers".to_owned()),
        );
        let after = check(&Settings::resolve([before.layer(), layer])).unwrap();
        assert!(after.nodes.is_empty());
        before.nodes.clear();
        assert!(
            check(&Settings::resolve([before.layer()]))
                .unwrap()
                .nodes
                .is_empty()
        );
    }

    #[test]
    fn a_flag_sets_a_nodes_address() {
        let mut layer = Layer::default();
        let key = Key::parse("nodes.lbl0.address").unwrap();
        assert_eq!(key.to_string(), "nodes.lbl0.address");
        layer.set_text(key, "192.168.80.99", Source::Flag("--set".to_owned()));
        let settings = Settings::resolve([layer]);
        let spec = check(&settings).unwrap();
        assert_eq!(
            spec.given_addresses().next().unwrap().to_string(),
            "192.168.80.99"
        );
        assert!(
            settings
                .rows()
                .iter()
                .any(|(key, value, _)| key == "nodes.lbl0.address" && value == "192.168.80.99")
        );
    }
}

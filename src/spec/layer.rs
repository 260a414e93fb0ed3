//! Turns a specification back into settings, to compare an existing cluster with a request.

use std::collections::BTreeMap;

use super::cluster::ClusterSpec;
use super::given::Layer;
use super::key::Key;
use super::role::RoleSpec;
use super::source::Source;
use super::table::Change;
use super::value::Value;

impl ClusterSpec {
    /// All settings of the specification except the cluster's name, which never comes from an existing cluster.
    pub(crate) fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        layer.replace_roles();
        for role in &self.roles {
            layer.add_role(&role.name);
            if !role.gaps.is_empty() {
                layer.number(&role.name, role.numbering());
            }
        }
        for (key, value) in self.values() {
            layer.set(key, value, Source::Cluster);
        }
        layer
    }

    /// Every setting with its value. A value that all roles share is set for the whole cluster.
    fn values(&self) -> BTreeMap<Key, Value> {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut all: BTreeMap<Key, Value> = [
            ("architecture", Value::Architecture(self.architecture)),
            ("accel", Value::Accel(self.accel)),
            ("network.bridge", text(&self.bridge)),
            ("network.subnet", Value::Subnet(Some(self.subnet))),
            ("network.isolated", Value::Switch(self.isolated)),
            ("network.ipv6", Value::Switch(self.ipv6)),
            (
                "network.host_ports",
                Value::HostPorts(self.host_ports.clone()),
            ),
            ("network.reserved", Value::Ranges(self.lan.reserved.clone())),
            ("network.mtu", Value::Mtu(self.lan.mtu)),
            ("network.lldp", Value::Switch(self.lan.lldp)),
            (
                "network.reach_from",
                Value::List(self.lan.reach_from.clone()),
            ),
            ("network.floating", Value::Ranges(self.lan.floating.clone())),
            ("network.spoof", Value::Switch(self.lan.spoof)),
            ("networks", Value::Networks(self.networks.clone())),
            ("forward", Value::Forwards(self.forwards.clone())),
            ("dns.domain", text(self.dns.domain_asked())),
            ("dns.records", Value::List(self.dns.records.clone())),
            ("dns.forward", Value::List(self.dns.forward.clone())),
            ("dns.rebind_ok", Value::List(self.dns.rebind_ok.clone())),
            ("files.folder", Value::Text(self.files.folder_asked())),
            ("inventory.password", Value::Switch(self.files.password)),
            ("image.suite", text(&self.template.suite)),
            (
                "image.mirror",
                text(self.template.mirror.as_deref().unwrap_or_default()),
            ),
            (
                "image.packages",
                Value::List(self.template.packages.clone()),
            ),
        ]
        .into_iter()
        .map(|(field, value)| (Key::cluster(field), value))
        .collect();
        for role in &self.roles {
            for (field, value) in role.values() {
                all.insert(Key::role(&role.name, field), value);
            }
        }
        self.lift(&mut all);
        all.extend(self.node_values());
        all
    }

    /// Replaces a value that all roles share by one for the whole cluster.
    fn lift(&self, all: &mut BTreeMap<Key, Value>) {
        let machines = super::table::SETTINGS.iter();
        for row in machines.filter(|s| !s.key.is_empty()) {
            let Some(field) = row.role_key else { continue };
            let keys: Vec<_> = self
                .roles
                .iter()
                .map(|r| Key::role(&r.name, field))
                .collect();
            let mut values = keys.iter().map(|k| all.get(k));
            let Some(Some(first)) = values.next() else {
                continue;
            };
            if values.all(|v| v == Some(first)) {
                let first = first.clone();
                for key in &keys {
                    all.remove(key);
                }
                all.insert(Key::cluster(row.key), first);
            }
        }
    }

    /// The settings that differ in `wanted`, each with its current and requested value and whether it can change.
    pub(crate) fn differences(&self, wanted: &Self) -> Vec<Difference> {
        let flat = |spec: &Self| {
            let mut all = spec.values();
            for role in &spec.roles {
                for (field, value) in role.values() {
                    all.insert(Key::role(&role.name, field), value);
                }
            }
            all.retain(|key, _| {
                key.role_name().is_some() || key.row().is_some_and(|r| r.role_key.is_none())
            });
            all
        };
        let (mut before, after) = (flat(self), flat(wanted));
        let mut all = Vec::new();
        for (key, value) in after {
            let old = before.remove(&key);
            if old.as_ref() != Some(&value) {
                all.push(Difference::new(key, old, Some(value)));
            }
        }
        all.extend(
            before
                .into_iter()
                .map(|(key, old)| Difference::new(key, Some(old), None)),
        );
        all
    }
}

/// A setting with two different values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) key: Key,
    /// `None` if the role is new.
    pub(crate) before: Option<Value>,
    /// `None` if the role is removed.
    pub(crate) after: Option<Value>,
    pub(crate) change: Change,
}

impl Difference {
    fn new(key: Key, before: Option<Value>, after: Option<Value>) -> Self {
        let is_role_that_comes_or_goes = before.is_none() || after.is_none();
        let change = match key.row() {
            _ if is_role_that_comes_or_goes => Change::Live,
            Some(row) => row.change,
            None => Change::Never,
        };
        Self {
            key,
            before,
            after,
            change,
        }
    }
}

impl RoleSpec {
    /// The role's settings, by their keys in its table.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let user_data = self.user_data.as_ref();
        let user_data = user_data.map_or_else(String::new, |p| p.display().to_string());
        let mut all = vec![
            ("count", Value::Number(self.count)),
            ("prefix", Value::Text(self.prefix.clone())),
            ("groups", Value::List(self.groups.clone())),
            ("vcpus", Value::Number(self.vcpus)),
            ("ram", Value::Size(self.ram)),
            ("disk", Value::Size(self.disk)),
            ("disks", Value::Sizes(self.disks.clone())),
            ("cpu", Value::Text(self.cpu.clone())),
            (
                "nested",
                self.nested
                    .map_or_else(|| Value::Text(String::new()), Value::Switch),
            ),
            ("image", Value::Text(self.image.clone())),
            ("restart", Value::Restart(self.restart)),
            ("user_data", Value::Text(user_data)),
            ("vars", Value::Variables(self.vars.clone())),
        ];
        if let Some(networks) = &self.networks {
            all.push(("networks", Value::List(networks.clone())));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::numbering::Numbering;
    use super::super::settings::Settings;
    use super::super::{Bytes, Restart, check};
    use super::*;

    fn role() -> impl Strategy<Value = RoleSpec> {
        let names = "[a-z][a-z0-9_]{0,6}";
        let machine = (1_u32..8, 256_u64..9000, 1_u64..60, 0_usize..3);
        let nodes = (0_u32..4, proptest::collection::vec(0_u32..5, 0..3));
        let word = proptest::option::of("[a-z]{1,5}");
        (
            names,
            nodes,
            machine,
            word,
            proptest::collection::vec("[a-z_]{2,6}", 0..3),
        )
            .prop_map(
                |(name, (count, gaps), (vcpus, ram, disk, restart), word, mut groups)| {
                    groups.retain(|g| g != "all" && g != "ungrouped");
                    RoleSpec {
                        prefix: name.replace('_', "-"),
                        groups: if groups.is_empty() {
                            vec![name.clone()]
                        } else {
                            groups
                        },
                        count,
                        gaps: Numbering::new(count, gaps).gaps(),
                        vcpus,
                        ram: Bytes::mib(ram),
                        disk: Bytes::gib(disk),
                        // A cluster's own settings ask for nothing.
                        disk_may_grow: true,
                        disks: vec![Bytes::gib(disk); restart],
                        cpu: word.clone().unwrap_or_default(),
                        nested: [None, Some(false), Some(true)][restart],
                        image: word.clone().unwrap_or_default(),
                        restart: [Restart::Never, Restart::OnFailure, Restart::Always][restart],
                        networks: word.as_ref().map(|_| Vec::new()),
                        user_data: word.as_ref().map(|w| format!("/{w}").into()),
                        vars: word
                            .iter()
                            .map(|w| (w.clone(), w.as_str().into()))
                            .collect(),
                        name,
                    }
                },
            )
    }

    proptest! {
        /// Turning a specification into settings and back loses nothing.
        #[test]
        fn a_spec_is_restored_from_its_settings(
            roles in proptest::collection::vec(role(), 1..5),
            ipv6 in any::<bool>(),
            records in any::<bool>(),
        ) {
            let mut spec = check(&Settings::resolve([])).unwrap();
            spec.roles.clear();
            for role in roles {
                let clashes = |r: &RoleSpec| r.name == role.name || r.prefix.starts_with(&role.prefix) || role.prefix.starts_with(&r.prefix);
                if !spec.roles.iter().any(clashes) {
                    spec.roles.push(role);
                }
            }
            let more = spec.roles[0].count + 1;
            spec.roles[0].scale(more);
            spec.ipv6 = ipv6;
            if records {
                spec.files = super::super::FilesSpec::new("/x/.kvmc", false);
                spec.dns.records = vec!["zz A 192.0.2.1".to_owned(), "yy TXT \"a b\"".to_owned()];
                spec.networks = vec!["name=storage,subnet=10.81.0.0/24,ipv6".parse().unwrap()];
                spec.host_ports = vec!["69/udp".parse().unwrap()];
                spec.template.packages = vec!["vim".to_owned()];
                spec.lan.reserved = vec!["192.168.80.200-192.168.80.250".parse().unwrap(), "10.81.0.9".parse().unwrap()];
                let first = spec.node_names().next().unwrap().0;
                spec.nodes.insert(first, super::super::NodeSpec { address: Some("192.168.80.50".parse().unwrap()) });
                spec.lan.mtu = Some(9000);
                spec.lan.lldp = true;
                spec.lan.reach_from = vec!["docker0".to_owned()];
                spec.lan.floating = vec!["10.244.0.0/16".parse().unwrap()];
                spec.lan.spoof = true;
                spec.dns.forward = vec!["corp.local".to_owned()];
                spec.dns.rebind_ok = vec!["nip.io".to_owned(), "sslip.io".to_owned()];
            }
            let again = check(&Settings::resolve([spec.layer()])).unwrap();
            prop_assert!(spec.differences(&again).is_empty());
            prop_assert_eq!(again, spec);
        }
    }

    #[test]
    fn each_difference_says_whether_it_can_be_applied() {
        let spec = check(&Settings::resolve([])).unwrap();
        let mut wanted = spec.clone();
        wanted.roles[0].count = 5;
        wanted.roles[1].ram = Bytes::gib(1);
        wanted.accel = super::super::AccelChoice::Tcg;
        let told: Vec<_> = spec
            .differences(&wanted)
            .into_iter()
            .map(|d| {
                let text = |v: Option<Value>| v.map(|v| v.to_string()).unwrap_or_default();
                (d.key.to_string(), text(d.before), text(d.after), d.change)
            })
            .collect();
        let row =
            |a: &str, b: &str, c: &str, change| (a.to_owned(), b.to_owned(), c.to_owned(), change);
        assert_eq!(
            told,
            [
                row("accel", "auto", "tcg", Change::NextStart),
                row("masters", "3", "5", Change::Live),
                row("worker_ram", "4G", "1G", Change::NextStart),
            ]
        );
    }
}

//! Turns machines with names of their own into roles, whose nodes have a prefix and a number.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::spec::{LiveTable, toml_list, toml_quoted};

/// The default roles with their prefixes.
const DEFAULT: [(&str, &str); 3] = [
    ("masters", "master"),
    ("workers", "worker"),
    ("load_balancers", "lbl"),
];
/// Prefixes of load balancers.
const BALANCERS: [&str; 5] = ["lb", "lbl", "loadbalancer", "load-balancer", "haproxy"];

/// A machine of a foreign file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) hardware: Hardware,
}

/// What all nodes of a role have alike, as kvmc writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hardware {
    pub(super) vcpus: Option<u32>,
    pub(super) ram: Option<String>,
    pub(super) disk: Option<String>,
    pub(super) disks: Vec<String>,
    pub(super) cpu: Option<String>,
    pub(super) nested: Option<bool>,
    pub(super) image: Option<String>,
    /// Additional networks; `None` for all.
    pub(super) networks: Option<Vec<String>>,
}

/// A role of equal machines.
#[derive(Debug)]
struct Role {
    name: String,
    prefix: String,
    machines: Vec<Machine>,
}

/// All roles.
#[derive(Debug, Default)]
pub(super) struct Roles(Vec<Role>);

impl Roles {
    /// Machines whose names have one prefix are one role if they are alike, else a role each.
    pub(super) fn of(machines: Vec<Machine>) -> Self {
        let mut groups: Vec<(String, Vec<Machine>)> = Vec::new();
        for machine in machines {
            let (prefix, _) = split(&machine.name);
            match groups.iter_mut().find(|(p, _)| *p == prefix) {
                Some((_, group)) => group.push(machine),
                None => groups.push((prefix, vec![machine])),
            }
        }
        let mut roles = Self::default();
        for (prefix, mut group) in groups {
            group.sort_by_key(|m| split(&m.name).1);
            let first = group.first().map(|m| m.hardware.clone());
            if group.iter().all(|m| Some(&m.hardware) == first.as_ref()) {
                roles.add(&prefix, group);
                continue;
            }
            for machine in group {
                let (prefix, number) = split(&machine.name);
                let own = match number {
                    Some(number) => format!("{prefix}{number}-"),
                    None => prefix,
                };
                roles.add(&own, vec![machine]);
            }
        }
        roles
    }

    fn add(&mut self, prefix: &str, machines: Vec<Machine>) {
        let bare = prefix.trim_end_matches('-');
        let default = DEFAULT.iter().find(|(_, p)| *p == bare).map(|(r, _)| *r);
        let balancers = BALANCERS.contains(&bare).then_some("load_balancers");
        let plain = bare.replace('-', "_");
        let is_free = |name: &str| self.0.iter().all(|r| r.name != name);
        let wanted = default
            .or(balancers)
            .filter(|n| is_free(n))
            .unwrap_or(&plain);
        let wanted = match wanted {
            "all" | "ungrouped" => "nodes",
            wanted => wanted,
        };
        let numbered = (2..).map(|n| format!("{wanted}_{n}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        let name = names.find(|n| is_free(n)).unwrap_or_default();
        // Two roles cannot have nodes of one name.
        let is_used = |p: &str| self.0.iter().any(|r| r.prefix == p);
        let prefix = match is_used(prefix) {
            true => format!("{}-", name.replace('_', "-")),
            false => prefix.to_owned(),
        };
        self.0.push(Role {
            name,
            prefix,
            machines,
        });
    }

    /// Machines with their names as nodes.
    fn renamed(&self) -> impl Iterator<Item = (&Machine, String)> {
        self.0.iter().flat_map(|role| {
            let numbered = role.machines.iter().enumerate();
            numbered.map(move |(n, m)| (m, format!("{}{n}", role.prefix)))
        })
    }

    /// The name of a machine's node.
    pub(super) fn name_of(&self, machine: &str) -> String {
        let found = self.renamed().find(|(m, _)| m.name == machine);
        found.map_or_else(|| machine.to_owned(), |(_, name)| name)
    }

    /// The machines that get other names: line, name, reason and what to do.
    pub(super) fn notes(&self) -> Vec<(usize, String, String, String)> {
        let mut notes = Vec::new();
        for role in &self.0 {
            let nodes = role.machines.iter().enumerate();
            let nodes = nodes.map(|(n, m)| (m, format!("{}{n}", role.prefix)));
            let other: Vec<_> = nodes.filter(|(m, node)| m.name != *node).collect();
            let Some((first, _)) = other.first() else {
                continue;
            };
            let old: Vec<_> = other.iter().map(|(m, _)| m.name.as_str()).collect();
            let new: Vec<_> = other.iter().map(|(_, node)| node.as_str()).collect();
            notes.push((
                first.line,
                old.join(", "),
                format!(
                    "kvmc numbers the nodes of a role from 0, so the name is {}",
                    new.join(", ")
                ),
                "use these names in playbooks and in /etc/hosts".to_owned(),
            ));
        }
        notes
    }

    /// The roles' tables. Default roles without a machine are emptied where the file has no role of another name.
    pub(super) fn tables(&self) -> Vec<(String, LiveTable)> {
        let mut tables: Vec<_> = self.0.iter().map(|r| (r.name.clone(), table(r))).collect();
        let is_default = |name: &str| DEFAULT.iter().any(|(role, _)| *role == name);
        if !tables.is_empty() && tables.iter().all(|(name, _)| is_default(name)) {
            for (role, _) in DEFAULT {
                if tables.iter().all(|(name, _)| name != role) {
                    tables.push((role.to_owned(), vec![("count", "0".to_owned())]));
                }
            }
        }
        tables
    }

    /// The tables of nodes with an address of their own.
    pub(super) fn nodes(&self) -> Vec<(String, LiveTable)> {
        let nodes = self.renamed().filter_map(|(machine, node)| {
            let address = machine.address?;
            Some((node, vec![("address", toml_quoted(&address.to_string()))]))
        });
        // In the order of their names, so that the file does not depend on the order of roles.
        nodes.collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

fn table(role: &Role) -> LiveTable {
    let mut table = vec![("count", role.machines.len().to_string())];
    let default = DEFAULT.iter().find(|(name, _)| *name == role.name);
    let prefix = default.map_or_else(|| role.name.replace('_', "-"), |(_, p)| (*p).to_owned());
    if prefix != role.prefix {
        table.push(("prefix", toml_quoted(&role.prefix)));
    }
    let Some(Machine { hardware, .. }) = role.machines.first() else {
        return table;
    };
    let texts = [
        ("ram", &hardware.ram),
        ("disk", &hardware.disk),
        ("cpu", &hardware.cpu),
        ("image", &hardware.image),
    ];
    if let Some(vcpus) = hardware.vcpus {
        table.push(("vcpus", vcpus.to_string()));
    }
    let texts = texts
        .into_iter()
        .filter_map(|(k, v)| Some((k, toml_quoted(v.as_ref()?))));
    table.extend(texts);
    if !hardware.disks.is_empty() {
        table.push(("disks", toml_list(&hardware.disks)));
    }
    if let Some(nested) = hardware.nested {
        table.push(("nested", nested.to_string()));
    }
    if let Some(networks) = &hardware.networks {
        table.push(("networks", toml_list(networks)));
    }
    table
}

/// A machine's name as a prefix that nodes can have, and the number behind it.
fn split(name: &str) -> (String, Option<u32>) {
    let fine: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let bare = fine.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = fine.get(bare.len()..).and_then(|n| n.parse().ok());
    let start = bare.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let prefix = match start.trim_end_matches('-') {
        "" => "node",
        _ => start,
    };
    // A DNS label has 63 letters, three of which are the number's.
    (prefix.chars().take(57).collect(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, vcpus: u32) -> Machine {
        Machine {
            name: name.to_owned(),
            hardware: Hardware {
                vcpus: Some(vcpus),
                ..Hardware::default()
            },
            ..Machine::default()
        }
    }

    fn shown(machines: &[(&str, u32)]) -> Vec<String> {
        let machines = machines.iter().map(|(n, v)| machine(n, *v)).collect();
        let roles = Roles::of(machines).tables();
        let line = |(name, table): (String, LiveTable)| {
            let keys: Vec<_> = table.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{name}: {}", keys.join(" "))
        };
        roles.into_iter().map(line).collect()
    }

    #[test]
    fn machines_of_one_prefix_that_are_alike_are_one_role() {
        assert_eq!(
            shown(&[("master1", 2), ("worker2", 1), ("worker1", 1), ("lb", 1)]),
            [
                "masters: count=1 vcpus=2",
                "workers: count=2 vcpus=1",
                "load_balancers: count=1 prefix=\"lb\" vcpus=1",
            ]
        );
        assert_eq!(
            shown(&[("k8s-node-01", 1), ("k8s-node-02", 1), ("DB_x", 1)]),
            [
                "k8s_node: count=2 prefix=\"k8s-node-\" vcpus=1",
                "db_x: count=1 vcpus=1"
            ]
        );
    }

    #[test]
    fn machines_that_differ_are_a_role_each() {
        assert_eq!(
            shown(&[("n1", 1), ("n2", 2)]),
            [
                "n1: count=1 prefix=\"n1-\" vcpus=1",
                "n2: count=1 prefix=\"n2-\" vcpus=2"
            ]
        );
    }

    #[test]
    fn default_roles_without_a_machine_are_emptied() {
        assert_eq!(
            shown(&[("master0", 1)]),
            [
                "masters: count=1 vcpus=1",
                "workers: count=0",
                "load_balancers: count=0"
            ]
        );
    }

    #[test]
    fn names_that_no_node_can_have_are_replaced() {
        assert_eq!(split("1"), ("node".to_owned(), Some(1)));
        assert_eq!(split("---"), ("node".to_owned(), None));
        assert_eq!(split("9Lives_"), ("lives-".to_owned(), None));
        assert_eq!(split(&"a".repeat(90)).0.len(), 57);
        assert_eq!(split("a99999999999").1, None);
    }
}

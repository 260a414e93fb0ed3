//! Ansible's INI inventory.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::common::{ALIVE, sealed};
use super::quote;
use crate::hint::{command, host_command};
use crate::node::Secrets;
use crate::node::identity::ADMIN;
use crate::state::{ClusterRecord, NodeRecord};

/// Seconds that Ansible waits for an emulated node's key exchange. Ansible's own ten are too few for many nodes on few
/// cores.
const EMULATED_TIMEOUT: u8 = 60;

/// The inventory, with the roles' groups and variables in the order of the roles.
///
/// Paths are absolute, so it works from any folder. They are quoted for all programs that read them. `without_sshpass`
/// is the version of an ansible-core on this host that refuses to run with a password.
pub(super) fn inventory(
    record: &ClusterRecord,
    secrets: &Secrets,
    folder: &Path,
    without_sshpass: Option<&str>,
) -> String {
    let name = &record.spec.name;
    let mut text = String::new();
    for group in groups(record) {
        let _infallible = writeln!(text, "\n[{group}]");
        for node in &record.nodes {
            let role = record.spec.role(&node.role);
            if role.is_some_and(|r| r.groups.contains(&group)) {
                let _infallible = writeln!(text, "{}", host(record, node));
            }
        }
    }
    let _infallible = writeln!(text, "\n[all:vars]\nansible_user={ADMIN}");
    text.push_str(&password(record, secrets, without_sshpass));
    let key = quote::ssh_inner(&folder.join("id_rsa"));
    let known = quote::ssh(&folder.join("known_hosts"));
    let arguments = format!(
        "-o {} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o ServerAliveInterval={} -o ServerAliveCountMax={}",
        quote::word(&format!("UserKnownHostsFile={known}")),
        ALIVE.0,
        ALIVE.1
    );
    let _infallible = write!(
        text,
        "ansible_ssh_private_key_file={}\nansible_python_interpreter=/usr/bin/python3\nansible_ssh_common_args={}\n",
        quote::variable(&key),
        quote::variable(&arguments),
    );
    if !record.accelerator.is_kvm() {
        let _infallible = writeln!(text, "ansible_ssh_timeout={EMULATED_TIMEOUT}");
    }
    let purpose = format!("{} removes it", command(name, "down"));
    sealed(name, &purpose, &text)
}

/// The password's line, or the reason why it is a comment.
fn password(record: &ClusterRecord, secrets: &Secrets, without_sshpass: Option<&str>) -> String {
    let line = format!("ansible_password={}\n", secrets.password);
    match without_sshpass {
        _ if !record.spec.files.password => String::new(),
        None => line,
        Some(version) => format!(
            "# The key is enough. ansible-core {version} refuses to run with a password while sshpass is not installed;\n# {} installs it, and the next {} sets the password:\n# {line}",
            host_command("doctor --fix"),
            command(&record.spec.name, "up"),
        ),
    }
}

/// The groups of all roles, also of roles without a node, because playbooks name them.
fn groups(record: &ClusterRecord) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for group in record.spec.roles.iter().flat_map(|r| &r.groups) {
        if !groups.contains(group) {
            groups.push(group.clone());
        }
    }
    groups
}

/// A node's line, with its role's variables.
fn host(record: &ClusterRecord, node: &NodeRecord) -> String {
    let mut line = format!(
        "{} ansible_host={} cluster_hostname={}",
        node.name,
        node.address(),
        node.name
    );
    let role = record.spec.role(&node.role);
    for (name, value) in role.iter().flat_map(|r| &r.vars) {
        let _infallible = write!(line, " {name}={}", quote::word(&literal(value)));
    }
    line
}

/// A value in Python's syntax, in which Ansible reads the values of a host's line.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        // JSON's escapes are also Python's.
        Value::String(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries.iter();
            let entries: Vec<_> = entries
                .map(|(k, v)| format!("{}: {}", Value::from(k.as_str()), literal(v)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::samples::{record, record_of_file, secrets};

    #[test]
    fn the_inventory_has_the_groups_of_the_scripts() {
        let text = inventory(&record(), &secrets(), Path::new("/my project"), None);
        assert!(text.starts_with(super::super::common::HEADER));
        let at = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("no {needle} in\n{text}"))
        };
        assert!(at("[masters]") < at("master0 ansible_host=192.168.80.2 cluster_hostname=master0"));
        assert!(at("master2") < at("[workers]"));
        assert!(at("worker2") < at("[load_balancers]"));
        assert!(at("lbl0 ansible_host=192.168.80.8") < at("[all:vars]"));
        at("ansible_user=admin\n");
        at("ansible_password=secret\n");
        at("ansible_ssh_private_key_file=\"/my project/id_rsa\"");
        at("'UserKnownHostsFile=\\\"/my project/known_hosts\\\"'");
    }

    #[test]
    fn the_password_is_there_unless_it_is_unwanted_or_in_the_way() {
        let mut record = record();
        let of = |record: &_, old| inventory(record, &secrets(), Path::new("/x"), old);
        assert!(of(&record, None).contains("\nansible_password=secret\n"));
        let text = of(&record, Some("2.14.18"));
        assert!(text.contains("\n# ansible_password=secret\n"), "{text}");
        assert!(
            text.contains("# The key is enough. ansible-core 2.14.18 refuses"),
            "{text}"
        );
        let layer =
            crate::spec::parse_file(Path::new("kvmc.toml"), "[inventory]\npassword = false\n");
        record.spec =
            crate::spec::check(&crate::spec::Settings::resolve([layer.unwrap()])).unwrap();
        for old in [None, Some("2.14.18")] {
            assert!(!of(&record, old).contains("ansible_password"));
        }
    }

    #[test]
    fn ansible_waits_longer_for_emulated_nodes() {
        let mut record = record();
        let text = inventory(&record, &secrets(), Path::new("/x"), None);
        assert!(text.ends_with("\"\nansible_ssh_timeout=60\n"), "{text}");
        record.accelerator = crate::model::Accelerator::Kvm;
        let text = inventory(&record, &secrets(), Path::new("/x"), None);
        assert!(!text.contains("timeout"), "{text}");
    }

    #[test]
    fn the_inventory_has_the_roles_groups_and_variables_with_their_types() {
        let record = record_of_file(
            "[roles.plane]\ngroups = [\"kube_control_plane\", \"etcd\"]\nvars = { version = \"1.10\", on = true, quote = \"it's\" }\n[roles.empty]\ncount = 0\n",
        );
        let text = inventory(&record, &secrets(), Path::new("/x"), None);
        let line = "plane0 ansible_host=192.168.80.2 cluster_hostname=plane0 on='True' quote='\"it'\"'\"'s\"' version='\"1.10\"'\n";
        assert!(
            text.contains(&format!(
                "\n[kube_control_plane]\n{line}\n[etcd]\n{line}\n[empty]\n"
            )),
            "{text}"
        );
        assert_eq!(literal(&json!({"a": [null, 1.5]})), "{\"a\": [None, 1.5]}");
    }
}

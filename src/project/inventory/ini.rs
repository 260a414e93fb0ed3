//! Ansible's INI inventory.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::super::common::sealed;
use super::super::quote;
use super::data::Inventory;
use crate::hint::{command, host_command};
use crate::node::Secrets;
use crate::state::ClusterRecord;

/// The file that `up` writes.
pub(in super::super) fn inventory(
    record: &ClusterRecord,
    secrets: &Secrets,
    folder: &Path,
    without_sshpass: Option<&str>,
) -> String {
    text(&Inventory::new(record, secrets, folder, without_sshpass))
}

pub(super) fn text(inventory: &Inventory) -> String {
    let name = &inventory.cluster;
    let mut text = String::new();
    for (group, hosts) in &inventory.groups {
        let _infallible = writeln!(text, "\n[{group}]");
        let hosts = inventory.hosts.iter().filter(|(h, _)| hosts.contains(h));
        for (host, vars) in hosts {
            let _infallible = writeln!(text, "{host}{}", words(vars));
        }
    }
    text.push_str("\n[all:vars]\n");
    for (name, value) in &inventory.vars {
        let _infallible = writeln!(text, "{name}={}", variable(value));
        if name == "ansible_user" {
            text.push_str(&no_password(inventory));
        }
    }
    let purpose = format!("{} removes it", command(name, "down"));
    sealed(name, &purpose, &text)
}

/// The reason why the password is a comment, if it is.
fn no_password(inventory: &Inventory) -> String {
    let Some(version) = &inventory.without_sshpass else {
        return String::new();
    };
    format!(
        "# The key is enough. ansible-core {version} refuses to run with a password while sshpass is not installed;\n# {} installs it, and the next {} sets the password:\n# ansible_password={}\n",
        host_command("doctor --fix"),
        command(&inventory.cluster, "up"),
        inventory.password
    )
}

/// A host's variables behind its name.
fn words(vars: &[(String, Value)]) -> String {
    let mut words = String::new();
    for (name, value) in vars {
        let _infallible = match value {
            Value::String(text) if is_plain(text) => write!(words, " {name}={text}"),
            _ => write!(words, " {name}={}", quote::word(&literal(value))),
        };
    }
    words
}

/// The value of a variable below `[all:vars]`.
fn variable(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::String(text) => quote::literal(text),
        _ => literal(value),
    }
}

/// Whether Ansible reads a text without quotes as the same text: it looks like nothing else of Python, and like no
/// address that begins with another value.
fn is_plain(text: &str) -> bool {
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    is_address || is_word && !["True", "False", "None"].contains(&text)
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
        assert!(text.starts_with(super::super::super::common::HEADER));
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
        let line = "plane0 ansible_host=192.168.80.2 cluster_hostname=plane0 kvmc_addresses='{\"main\": \"192.168.80.2\"}' on='True' quote='\"it'\"'\"'s\"' version='\"1.10\"'\n";
        assert!(
            text.contains(&format!(
                "\n[kube_control_plane]\n{line}\n[etcd]\n{line}\n[empty]\n"
            )),
            "{text}"
        );
        assert_eq!(literal(&json!({"a": [null, 1.5]})), "{\"a\": [None, 1.5]}");
    }
}

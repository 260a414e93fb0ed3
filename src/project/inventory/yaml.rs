//! The inventory as YAML. Strings are JSON's, which YAML 1.2 section 1.3 includes.

use std::fmt::Write;

use serde_json::Value;

use super::super::common::HEADER;
use super::data::Inventory;

/// Words that YAML 1.1, which Ansible reads, takes for other values.
const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

pub(super) fn text(inventory: &Inventory) -> String {
    let mut text = format!("{HEADER} for cluster {}\n---\nall:\n", inventory.cluster);
    text.push_str("  vars:\n");
    write_vars(&mut text, 4, &inventory.vars);
    text.push_str("  hosts:\n");
    for (host, vars) in &inventory.hosts {
        let _infallible = writeln!(text, "    {}:", key(host));
        write_vars(&mut text, 6, vars);
    }
    text.push_str("  children:\n");
    for (group, hosts) in &inventory.groups {
        let _infallible = writeln!(text, "    {}:", key(group));
        match hosts.is_empty() {
            true => text.push_str("      hosts: {}\n"),
            false => text.push_str("      hosts:\n"),
        }
        for host in hosts {
            let _infallible = writeln!(text, "        {}: {{}}", key(host));
        }
    }
    text
}

fn write_vars(text: &mut String, indent: usize, vars: &[(String, Value)]) {
    for (name, value) in vars {
        let _infallible = writeln!(text, "{:indent$}{}: {value}", "", key(name));
    }
}

fn key(name: &str) -> String {
    match WORDS.contains(&name.to_lowercase().as_str()) {
        true => Value::from(name).to_string(),
        false => name.to_owned(),
    }
}

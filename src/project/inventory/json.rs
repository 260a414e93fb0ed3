//! The inventory as Ansible reads it from programs.
//!
//! Reference: Ansible's documentation of inventory scripts.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::data::{Inventory, Vars};

/// The answer to `--list`. With `_meta`, Ansible does not ask for each host.
pub(super) fn list(inventory: &Inventory) -> Result<String> {
    let mut all = Map::new();
    let hosts = inventory.hosts.iter().cloned();
    let hosts: Map<_, _> = hosts.map(|(n, vars)| (n, object(vars))).collect();
    all.insert("_meta".to_owned(), json!({ "hostvars": hosts }));
    let groups: Vec<_> = inventory.groups.iter().map(|(name, _)| name).collect();
    all.insert(
        "all".to_owned(),
        json!({ "children": groups, "vars": object(inventory.vars.clone()) }),
    );
    for (group, hosts) in &inventory.groups {
        all.insert(group.clone(), json!({ "hosts": hosts }));
    }
    pretty(&all)
}

/// The answer to `--host`.
pub(super) fn host(vars: &[(String, Value)]) -> Result<String> {
    pretty(&object(vars.to_vec()))
}

fn object(vars: Vars) -> Value {
    Value::Object(vars.into_iter().collect())
}

fn pretty(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).context("a variable cannot be written")?;
    Ok(format!("{text}\n"))
}

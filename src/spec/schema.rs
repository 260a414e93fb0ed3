//! The JSON Schema of `kvmc.toml`, made from the table of settings.
//!
//! It is of draft 7, the newest that taplo validates with, and it has no references, which taplo resolves only in part.

use serde_json::{Map, Value, json};

use super::alias::ALIASES;
use super::kind::Kind;
use super::table::{SETTINGS, Setting, role_setting};

const SIZE: &str = "^[0-9]+([MGT](i|iB)?|[mgt])$";
const SIZE_OR_GB: &str = "^[0-9]+([MGT](i|iB)?|[mgt])?$";
const ADDRESS: &str = r"^([0-9]{1,3}\.){3}[0-9]{1,3}$";
const SUBNET: &str = r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$";
const NAME: &str = "^[a-z][a-z0-9_-]*$";

/// The schema.
pub(crate) fn json_schema() -> Value {
    let mut root = table(properties(|row| Some(row.key)));
    for alias in ALIASES {
        let kind = role_setting(alias.field).map_or(Kind::Text, |row| row.kind);
        let text = format!(
            "{} (short for roles.{}.{})",
            alias.help, alias.role, alias.field
        );
        let value = described(kind, &text, alias.default);
        insert(&mut root, alias.key, value);
    }
    let roles = tables(properties(|row| row.role_key), NAME, "The cluster's roles");
    insert(&mut root, "roles", roles);
    let nodes = tables(
        properties(|row| row.node_key),
        "^[a-z][a-z0-9-]*[0-9]$",
        "Settings of single nodes",
    );
    insert(&mut root, "nodes", nodes);
    let mut all = Map::new();
    let mut set = |key: &str, value: Value| all.insert(key.to_owned(), value);
    set("$schema", json!("http://json-schema.org/draft-07/schema#"));
    set("title", json!("kvmc.toml"));
    set("description", json!("A cluster of kvmc"));
    if let Value::Object(root) = root {
        all.extend(root);
    }
    Value::Object(all)
}

/// The settings whose keys `key` gives.
fn properties(key: impl Fn(&Setting) -> Option<&'static str>) -> Vec<(&'static str, Value)> {
    let of = |row: &Setting| {
        let key = key(row).filter(|k| !k.is_empty())?;
        let is_in_file = row.kind != Kind::Counts;
        is_in_file.then(|| (key, described(row.kind, row.help, row.shown_default())))
    };
    SETTINGS.iter().filter_map(of).collect()
}

/// A table with these keys, of which those with a dot are in tables of their own.
fn table(properties: Vec<(&str, Value)>) -> Value {
    let mut root = empty();
    for (key, value) in properties {
        match key.split_once('.') {
            None => insert(&mut root, key, value),
            Some((outer, inner)) => {
                let tables = root
                    .pointer_mut("/properties")
                    .and_then(Value::as_object_mut);
                if let Some(tables) = tables {
                    insert(tables.entry(outer).or_insert_with(empty), inner, value);
                }
            }
        }
    }
    root
}

fn empty() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn insert(table: &mut Value, key: &str, value: Value) {
    if let Some(properties) = table
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
    {
        properties.insert(key.to_owned(), value);
    }
}

/// A table of tables with names of the user's own.
fn tables(properties: Vec<(&str, Value)>, names: &str, description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "propertyNames": { "pattern": names },
        "additionalProperties": table(properties),
    })
}

fn described(kind: Kind, description: &str, default: &str) -> Value {
    let mut schema = of_kind(kind);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(description));
        let default = match kind {
            Kind::Count | Kind::Vcpus => default.parse::<u32>().ok().map(|n| json!(n)),
            Kind::Switch => default.parse::<bool>().ok().map(|on| json!(on)),
            Kind::Architecture => None,
            _ if default.is_empty() => None,
            _ => Some(json!(default)),
        };
        schema.extend(default.map(|value| ("default".to_owned(), value)));
    }
    schema
}

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn texts(pattern: &str) -> Value {
    json!({ "type": "array", "items": text(pattern) })
}

/// What `kvmc.toml` may hold for a kind.
fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Accel => json!({ "enum": ["auto", "kvm", "tcg"] }),
        Kind::Address => text(ADDRESS),
        Kind::Architecture => json!({ "enum": ["amd64", "arm64", "x86_64", "aarch64"] }),
        Kind::Cluster => text("^[a-z0-9][a-z0-9-]{0,31}$"),
        Kind::Count => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Counts => json!({ "type": "object" }),
        Kind::Cpu => text(r"^([A-Za-z0-9_.][A-Za-z0-9_.-]*)?$"),
        Kind::Disk => json!({ "anyOf": [{ "type": "integer", "minimum": 1 }, text(SIZE_OR_GB)] }),
        Kind::Disks => json!({ "type": "array", "items": text(SIZE_OR_GB), "maxItems": 8 }),
        Kind::Domains | Kind::Records | Kind::Words => {
            json!({ "type": "array", "items": { "type": "string" } })
        }
        Kind::Forwards => texts("^([0-9.]+:)?[0-9]+:[a-z0-9-]+:[0-9]+(/(tcp|udp))?$"),
        Kind::Groups => texts("^[A-Za-z_][A-Za-z0-9_-]*$"),
        Kind::HostPorts => texts("^[0-9]+(-[0-9]+)?(/(tcp|udp))?$"),
        Kind::Image | Kind::Path | Kind::Text => json!({ "type": "string" }),
        Kind::Link => text(r"^[^\s/:]{1,15}$"),
        Kind::Links => texts(r"^[^\s/:]{1,15}$"),
        Kind::Mtu => json!({ "anyOf": [
            { "type": "integer", "minimum": 68, "maximum": 65535 },
            text("^(auto|[0-9]+)$"),
        ] }),
        Kind::Nested | Kind::Switch => json!({ "type": "boolean" }),
        Kind::Networks => networks(),
        Kind::Prefix => text("^([a-z][a-z0-9-]*)?$"),
        Kind::Ram => text(SIZE),
        Kind::Ranges => texts(r"^[0-9.]+(-[0-9.]+|/[0-9]+)?$"),
        Kind::Restart => json!({ "enum": ["never", "on-failure", "always"] }),
        Kind::Subnet => json!({ "anyOf": [{ "enum": ["auto"] }, text(SUBNET)] }),
        Kind::Variables => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        }),
        Kind::Vcpus => json!({ "type": "integer", "minimum": 1, "maximum": 255 }),
    }
}

fn networks() -> Value {
    let mut network = table(vec![
        ("name", text("^[a-z][a-z0-9-]*$")),
        ("subnet", text(SUBNET)),
        ("bridge", of_kind(Kind::Link)),
        ("isolated", of_kind(Kind::Switch)),
        ("ipv6", of_kind(Kind::Switch)),
    ]);
    if let Some(network) = network.as_object_mut() {
        network.insert("required".to_owned(), json!(["name", "subnet"]));
    }
    json!({ "type": "array", "items": network })
}

#[cfg(test)]
mod tests;

use jsonschema::Validator;

use super::super::networks::NetworkSpec;
use super::super::{LiveFile, Settings, check, commented, parse_file};
use super::*;

fn validator() -> Validator {
    let schema = json_schema();
    assert!(jsonschema::meta::is_valid(&schema), "{schema}");
    jsonschema::validator_for(&schema).unwrap()
}

/// The errors of a file by the schema.
fn errors(validator: &Validator, toml: &str) -> Vec<String> {
    let table: toml::Table = toml.parse().unwrap();
    let value = serde_json::to_value(table).unwrap();
    let errors = validator.iter_errors(&value);
    errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

fn is_read(toml: &str) -> bool {
    let layer = parse_file("kvmc.toml".as_ref(), toml);
    layer.is_ok_and(|layer| check(&Settings::resolve([layer])).is_ok())
}

#[test]
fn the_sample_files_are_valid() {
    let validator = validator();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = vec![commented(&LiveFile::default()), all_on()];
    for folder in ["docs/examples", "tests/data/cluster-files"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                files.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(files.len() >= 4, "{}", files.len());
    for file in files {
        assert_eq!(errors(&validator, &file), [""; 0], "{file}");
        assert!(is_read(&file), "{file}");
    }
}

/// The commented file with all settings switched on.
fn all_on() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            format!("{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    let live = LiveFile {
        roles: ["masters", "load_balancers"]
            .map(|role| (role.to_owned(), Vec::new()))
            .into(),
        ..LiveFile::default()
    };
    commented(&live).lines().map(on).collect()
}

#[test]
fn what_kvmc_refuses_in_a_single_value_the_schema_refuses_too() {
    let validator = validator();
    for (bad, at) in [
        ("wrokers = 2", ""),
        ("ram = \"5\"", "/ram"),
        ("ram = 5", "/ram"),
        ("vcpus = 0", "/vcpus"),
        ("vcpus = \"4\"", "/vcpus"),
        ("disk = 0", "/disk"),
        ("disks = \"20G\"", "/disks"),
        ("disks = [20]", "/disks/0"),
        ("nested = \"yes\"", "/nested"),
        ("cpu = \"max,la57=off\"", "/cpu"),
        ("accel = \"xen\"", "/accel"),
        ("restart = \"sometimes\"", "/restart"),
        ("master_restart = \"sometimes\"", "/master_restart"),
        ("[network]\nsubnit = \"x\"", "/network"),
        ("[network]\nsubnet = \"192.168.80.0\"", "/network/subnet"),
        ("[network]\nipv6 = \"true\"", "/network/ipv6"),
        ("[network]\nmtu = 9", "/network/mtu"),
        ("network = 3", "/network"),
        ("[[networks]]\nname = \"a\"", "/networks/0"),
        ("forward = [\"80\"]", "/forward/0"),
        ("[roles.a]\ncuont = 1", "/roles/a"),
        ("[roles.a]\ncount = -1", "/roles/a/count"),
        ("[roles.A]\ncount = 1", "/roles"),
        ("[roles.a]\ngroups = [\"a b\"]", "/roles/a/groups/0"),
        ("[roles.a]\nvars = { \"a-b\" = 1 }", "/roles/a/vars"),
        (
            "[nodes.master0]\naddress = \"here\"",
            "/nodes/master0/address",
        ),
        (
            "[nodes.master0]\nadress = \"192.168.80.9\"",
            "/nodes/master0",
        ),
    ] {
        let found = errors(&validator, bad);
        assert!(
            found.iter().any(|e| e.starts_with(&format!("{at}:"))),
            "{bad}: {found:?}"
        );
        assert!(!is_read(bad), "kvmc accepts {bad}");
    }
}

#[test]
fn the_schema_has_every_key_and_every_help() {
    let schema = json_schema();
    let has = |path: String, help: &str| {
        let found = schema.pointer(&path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(found["description"], help, "{path}");
    };
    let roles = "/properties/roles/additionalProperties/properties";
    let nodes = "/properties/nodes/additionalProperties/properties";
    for row in SETTINGS.iter().filter(|s| s.kind != Kind::Counts) {
        if !row.key.is_empty() {
            let path = row.key.replace('.', "/properties/");
            has(format!("/properties/{path}"), row.help);
        }
        if let Some(key) = row.role_key {
            has(format!("{roles}/{key}"), row.help);
        }
        if let Some(key) = row.node_key {
            has(format!("{nodes}/{key}"), row.help);
        }
    }
    let networks = schema
        .pointer("/properties/networks/items/properties")
        .unwrap();
    let keys: Vec<_> = networks.as_object().unwrap().keys().collect();
    let mut known = NetworkSpec::KEYS;
    known.sort_unstable();
    assert_eq!(keys, known.iter().collect::<Vec<_>>());
}

//! `kvmc.toml`: the wire type is TOML's own tree, so that an unknown key can be named with its line
//! and its nearest known key.

use std::path::Path;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::networks::NetworkSpec;
use super::settings::{Key, Layer, Source};

/// What is wrong with a `kvmc.toml`, as `FILE:LINE: what`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{path}:{line}: {what}")]
pub(crate) struct Diagnosis {
    path: String,
    line: usize,
    what: String,
}

/// Reads the text of a settings file into a layer.
///
/// # Errors
/// The first thing wrong: syntax, an unknown key (with the nearest known one), a value of a wrong type.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Layer, Diagnosis> {
    let shown = path.display().to_string();
    let fail = |at: usize, what: String| Diagnosis {
        path: shown.clone(),
        line: line_of(text, at),
        what,
    };
    let text_without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table = DeTable::parse(text_without_mark).map_err(|e| {
        fail(
            e.span().map_or(0, |s| s.start),
            e.message().trim().replace('\n', ", "),
        )
    })?;
    let mut layer = Layer::new();
    let mut walk = |prefix: &str, table: &DeTable<'_>| -> Result<(), Diagnosis> {
        for (name, value) in table {
            let full = format!("{prefix}{}", name.get_ref());
            if matches!(full.as_str(), "network" | "image" | "networks" | "dns")
                && prefix.is_empty()
            {
                continue;
            }
            let Some(key) = Key::ALL.into_iter().find(|k| k.name() == full) else {
                return Err(fail(name.span().start, unknown(&full)));
            };
            let text =
                value_text(key, value).ok_or_else(|| fail(value.span().start, wrong_type(key)))?;
            let source = Source::File {
                path: shown.clone(),
                line: line_of(text_without_mark, name.span().start),
            };
            layer.insert(key, (text, source));
        }
        Ok(())
    };
    walk("", table.get_ref())?;
    for section in ["network", "image", "dns"] {
        let Some((name, value)) = table.get_ref().iter().find(|(n, _)| n.get_ref() == section)
        else {
            continue;
        };
        match value.get_ref() {
            DeValue::Table(inner) => walk(&format!("{section}."), inner)?,
            _ => {
                return Err(fail(
                    name.span().start,
                    format!("`{section}` is a table; write [{section}]"),
                ));
            }
        }
    }
    if let Some((name, value)) = table
        .get_ref()
        .iter()
        .find(|(n, _)| n.get_ref() == "networks")
    {
        let text = networks(value).map_err(|(at, what)| fail(at, what))?;
        let source = Source::File {
            path: shown.clone(),
            line: line_of(text_without_mark, name.span().start),
        };
        layer.insert(Key::Networks, (text, source));
    }
    Ok(layer)
}

/// The tables of `[[networks]]` as the setting has them, or what is wrong and where.
fn networks(value: &Spanned<DeValue<'_>>) -> Result<String, (usize, String)> {
    let form = || "`networks` is a list of tables; write [[networks]]".to_owned();
    let DeValue::Array(tables) = value.get_ref() else {
        return Err((value.span().start, form()));
    };
    let mut all = Vec::new();
    for item in tables {
        let DeValue::Table(table) = item.get_ref() else {
            return Err((item.span().start, form()));
        };
        let mut parts = Vec::new();
        for (name, value) in table {
            let key = name.get_ref();
            if !NetworkSpec::KEYS.contains(&key.as_ref()) {
                let keys = NetworkSpec::KEYS;
                return Err((name.span().start, unknown_of(key, &keys)));
            }
            let is_switch = matches!(key.as_ref(), "isolated" | "ipv6");
            let text = match value.get_ref() {
                DeValue::String(s) if !is_switch && !s.contains([',', ';', '=']) => s.to_string(),
                DeValue::Boolean(b) if is_switch => b.to_string(),
                _ => {
                    let wanted = if is_switch {
                        "true or false"
                    } else {
                        "a string"
                    };
                    return Err((value.span().start, format!("`{key}` wants {wanted}")));
                }
            };
            parts.push(format!("{key}={text}"));
        }
        all.push(parts.join(","));
    }
    Ok(all.join("; "))
}

fn value_text(key: Key, value: &Spanned<DeValue<'_>>) -> Option<String> {
    let is_number = matches!(
        key,
        Key::Masters | Key::Workers | Key::LoadBalancers | Key::Vcpus | Key::Disk
    );
    let is_list = matches!(
        key,
        Key::Packages | Key::Forward | Key::HostPorts | Key::Records
    );
    let is_switch = matches!(key, Key::Isolated | Key::Ipv6);
    match value.get_ref() {
        DeValue::String(s) if !is_list && !is_switch => Some(s.to_string()),
        DeValue::Boolean(b) if is_switch => Some(b.to_string()),
        DeValue::Integer(n) if is_number => Some(n.to_string()),
        DeValue::Array(items) if is_list => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(s) => Some(s.to_string()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(if key == Key::Records { "\n" } else { " " })),
        _ => None,
    }
}

fn wrong_type(key: Key) -> String {
    let wanted = match key {
        Key::Masters | Key::Workers | Key::LoadBalancers | Key::Vcpus => "a whole number",
        Key::Disk => "a size such as \"4G\", or a number of GB",
        Key::MasterRam | Key::WorkerRam | Key::LblRam => "a size such as \"2G\"",
        Key::Packages | Key::Forward | Key::HostPorts | Key::Records => "a list of strings",
        Key::Isolated | Key::Ipv6 => "true or false",
        _ => "a string",
    };
    format!("`{}` wants {wanted}", key.name())
}

fn unknown(name: &str) -> String {
    unknown_of(name, &Key::ALL.map(Key::name))
}

fn unknown_of(name: &str, keys: &[&str]) -> String {
    let nearest = keys
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 3.max(known.len() / 3));
    match nearest {
        Some((_, known)) => format!("unknown key `{name}`; did you mean `{known}`?"),
        None => format!("unknown key `{name}`; the keys are {}", keys.join(", ")),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Layer, String> {
        parse(Path::new("kvmc.toml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_every_kind_of_value() {
        let layer = read("masters = 1\nmaster_ram = \"1G\"\ndisk = 8\n[network]\nsubnet = \"10.1.0.0/24\"\n[image]\npackages = [\"vim\", \"curl\"]\n[dns]\nrecords = [\"a A 192.0.2.1\", 'b TXT \"c d\"']\n").unwrap();
        assert_eq!(layer[&Key::Masters].0, "1");
        assert_eq!(layer[&Key::Disk].0, "8");
        assert_eq!(layer[&Key::Subnet].0, "10.1.0.0/24");
        assert_eq!(layer[&Key::Packages].0, "vim curl");
        assert_eq!(layer[&Key::Records].0, "a A 192.0.2.1\nb TXT \"c d\"");
        assert_eq!(
            layer[&Key::Subnet].1,
            Source::File {
                path: "kvmc.toml".to_owned(),
                line: 5
            }
        );
    }

    #[test]
    fn names_file_line_and_nearest_key() {
        assert_eq!(
            read("masters = 3\nwrokers = 2\n").unwrap_err(),
            "kvmc.toml:2: unknown key `wrokers`; did you mean `workers`?"
        );
        assert_eq!(
            read("[network]\n\nsubnit = \"x\"\n").unwrap_err(),
            "kvmc.toml:3: unknown key `network.subnit`; did you mean `network.subnet`?"
        );
    }

    #[test]
    fn reads_networks_switches_and_forwards() {
        let layer = read(
            "forward = [\"8080:lbl0:80\", \"53:lbl0:53/udp\"]\n[network]\nipv6 = true\n\n[[networks]]\nname = \"storage\"\nsubnet = \"10.9.0.0/24\"\nipv6 = true\n[[networks]]\nname = \"b\"\nsubnet = \"10.8.0.0/24\"\n",
        )
        .unwrap();
        assert_eq!(layer[&Key::Forward].0, "8080:lbl0:80 53:lbl0:53/udp");
        assert_eq!(layer[&Key::Ipv6].0, "true");
        let networks = super::super::networks::parse(
            &layer[&Key::Networks].0,
            "192.168.80.0/24".parse().unwrap(),
            "k80",
        )
        .unwrap();
        assert_eq!(networks.len(), 2);
        assert!(networks[0].ipv6 && !networks[1].ipv6);
        for (text, expected) in [
            (
                "[[networks]]\nname = \"a\"\nsubnt = \"x\"\n",
                "kvmc.toml:3: unknown key `subnt`; did you mean `subnet`?",
            ),
            (
                "[[networks]]\nipv6 = \"true\"\n",
                "kvmc.toml:2: `ipv6` wants true or false",
            ),
            (
                "[networks]\nname = \"a\"\n",
                "kvmc.toml:1: `networks` is a list of tables; write [[networks]]",
            ),
            (
                "[network]\nipv6 = \"true\"\n",
                "kvmc.toml:2: `network.ipv6` wants true or false",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn refuses_wrong_types_and_syntax() {
        assert_eq!(
            read("masters = \"many\"\nmasters = 3")
                .unwrap_err()
                .split(':')
                .nth(1),
            Some("2"),
            "a duplicate key is an error at its own line"
        );
        assert_eq!(
            read("master_ram = 2").unwrap_err(),
            "kvmc.toml:1: `master_ram` wants a size such as \"2G\""
        );
        assert_eq!(
            read("network = 3").unwrap_err(),
            "kvmc.toml:1: `network` is a table; write [network]"
        );
        assert!(read("= =").is_err());
        assert!(read("").unwrap().is_empty());
    }
}

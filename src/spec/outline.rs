//! The commented cluster file of `init`: a live part, and every setting with its help and default, commented out.

use super::kind::Kind;
use super::networks::NetworkSpec;
use super::table::{Change, SETTINGS, Setting};
use crate::hint::host_command;

/// The head of the file. Lines with a blank behind `#` are prose, the others are settings.
fn head() -> String {
    format!(
        "#:schema ./kvmc.schema.json
# The line above lets editors with taplo complete and check this file; {} writes the schema.
# A line that begins with # and no blank is a setting that is off. It shows the default, or an example where there is none.
# A flag or a variable wins over this file. {} shows what counts.
",
        host_command("schema > kvmc.schema.json"),
        host_command("config"),
    )
}

/// The live part of a cluster file, with values as TOML.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LiveFile {
    /// Lines of prose.
    pub(crate) head: Vec<String>,
    /// Settings of the cluster by their keys, with dots.
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) networks: Vec<LiveTable>,
    /// By their names.
    pub(crate) roles: Vec<(String, LiveTable)>,
    pub(crate) nodes: Vec<(String, LiveTable)>,
}

/// The keys of a table with their values as TOML.
pub(crate) type LiveTable = Vec<(&'static str, String)>;

/// The text of a cluster file with this live part.
pub(crate) fn commented(live: &LiveFile) -> String {
    let mut text = head();
    for line in &live.head {
        text += &format!("# {line}\n").replace("# \n", "#\n");
    }
    for row in SETTINGS {
        if row.key.is_empty() || matches!(row.kind, Kind::Counts | Kind::Networks) {
            continue;
        }
        let value = live.settings.iter().find(|(key, _)| key == row.key);
        text += &match value {
            Some((key, value)) => format!("\n# {}\n{key} = {value}\n", prose(row)),
            None => format!("\n# {}\n#{} = {}\n", prose(row), row.key, shown(row)),
        };
    }
    text += &networks(live);
    text += &tables("role", &live.roles, "etcd", |row| row.role_key);
    text += &tables("node", &live.nodes, "etcd0", |row| row.node_key);
    text
}

fn networks(live: &LiveFile) -> String {
    let Some(row) = SETTINGS.iter().find(|s| s.kind == Kind::Networks) else {
        return String::new();
    };
    let mut text = format!("\n# {}\n", prose(row));
    for table in &live.networks {
        text += "[[networks]]\n";
        text += &lines("", table.iter().map(|(k, v)| (*k, v.clone())));
    }
    if live.networks.is_empty() {
        text += "#[[networks]]\n";
        let examples = [
            "\"storage\"",
            "\"10.81.0.0/24\"",
            "\"k80-storage\"",
            "false",
            "false",
        ];
        let keys = NetworkSpec::KEYS.into_iter().zip(examples);
        text += &lines("#", keys.map(|(k, v)| (k, v.to_owned())));
    }
    text
}

/// The tables of roles or nodes, and one that is commented out with all keys.
fn tables(
    what: &str,
    live: &[(String, LiveTable)],
    example: &str,
    key: impl Fn(&Setting) -> Option<&'static str>,
) -> String {
    let mut text = String::new();
    for (name, table) in live {
        text += &format!("\n[{what}s.{name}]\n");
        text += &lines("", table.iter().map(|(k, v)| (*k, v.clone())));
    }
    text += &format!("\n# Every setting of a {what}:\n#[{what}s.{example}]\n");
    for row in SETTINGS {
        if let Some(key) = key(row) {
            // A setting of all machines has been explained.
            if row.key.is_empty() {
                text += &format!("# {}\n", prose(row));
            }
            text += &format!("#{key} = {}\n", shown(row));
        }
    }
    text
}

fn lines<'a>(mark: &str, pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    pairs.map(|(k, v)| format!("{mark}{k} = {v}\n")).collect()
}

/// A setting's help, and how it can change.
fn prose(row: &Setting) -> String {
    let change = match row.change {
        Change::Live => "; can change while nodes run",
        Change::NextStart => "; changes at each node's next start",
        Change::Never => "",
    };
    // That is about the flag.
    let help = row.help.trim_end_matches("; may be repeated");
    format!("{help}{change}")
}

/// The default, or an example, as TOML.
fn shown(row: &Setting) -> String {
    let text = match row.default {
        "" => row.example,
        default => default,
    };
    match row.kind {
        Kind::Count | Kind::Vcpus | Kind::Switch | Kind::Nested | Kind::Variables => {
            text.to_owned()
        }
        kind if kind.is_list() => list(text.split("; ")),
        _ => quoted(text),
    }
}

/// A list of strings as TOML.
pub(crate) fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|i| quoted(i.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A string as TOML, which has JSON's escapes except for the solidus and DEL.
pub(crate) fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, check, parse_file};
    use super::*;

    fn live() -> LiveFile {
        LiveFile {
            head: vec!["a head".to_owned()],
            settings: vec![("cluster".to_owned(), quoted("lab"))],
            roles: vec![
                ("masters".to_owned(), vec![("count", "1".to_owned())]),
                ("load_balancers".to_owned(), vec![("count", "1".to_owned())]),
            ],
            ..LiveFile::default()
        }
    }

    #[test]
    fn the_live_part_is_a_cluster_file() {
        let text = commented(&live());
        let layer = parse_file("kvmc.toml".as_ref(), &text).unwrap();
        let spec = check(&Settings::resolve([layer])).unwrap();
        assert_eq!(spec.name, "lab");
        assert_eq!(spec.role("masters").unwrap().count, 1);
    }

    #[test]
    fn every_setting_can_be_switched_on_and_all_together() {
        let text = commented(&live());
        let on = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        };
        let all: String = text.lines().map(on).collect();
        let layer = parse_file("kvmc.toml".as_ref(), &all).map_err(|e| e.to_string());
        let spec = check(&Settings::resolve([layer.unwrap()])).map_err(|e| e.to_string());
        let spec = spec.unwrap();
        assert_eq!(
            spec.given_address("etcd0").unwrap().to_string(),
            "192.168.80.50"
        );
        for row in SETTINGS.iter().filter(|s| s.kind != Kind::Counts) {
            for key in [Some(row.key), row.role_key, row.node_key]
                .into_iter()
                .flatten()
            {
                let is_set =
                    text.contains(&format!("\n#{key} = ")) || text.contains(&format!("\n{key} = "));
                assert!(
                    key.is_empty() || is_set || row.kind == Kind::Networks,
                    "{key}"
                );
            }
            assert!(
                row.help.is_empty() || text.contains(&prose(row)),
                "{}",
                row.help
            );
        }
    }

    #[test]
    fn a_text_is_quoted_as_toml_reads_it() {
        for text in ["", "a\"b\\c", "\u{7f}\t\u{1}", "ü"] {
            let toml = format!("cluster = {}", quoted(text));
            let table: toml::Table = toml.parse().unwrap();
            assert_eq!(table["cluster"].as_str(), Some(text));
        }
    }
}

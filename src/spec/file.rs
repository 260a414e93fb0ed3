//! Reads `kvmc.toml` from TOML's own tree, so that errors can name an unknown key's line and the nearest known key.

use std::path::Path;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::alias::ALIASES;
use super::key::Key;
use super::kind::Kind;
use super::names::validate_name;
use super::nearest::unknown;
use super::role::is_default_role;
use super::settings::Layer;
use super::source::Source;
use super::table::SETTINGS;

/// An error in `kvmc.toml`, shown as `FILE:LINE: what`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{path}:{line}: {what}")]
pub(crate) struct Diagnosis {
    path: String,
    line: usize,
    what: String,
}

/// An error, with its position in the text in bytes.
type Fault = (usize, String);

/// Reads the text of a settings file into a layer.
///
/// # Errors
/// Fails at the first error: a wrong syntax, an unknown key (with the nearest known key), or a value of a wrong type.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Layer, Diagnosis> {
    let shown = path.display().to_string();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let fail = |(at, what): Fault| Diagnosis {
        path: shown.clone(),
        line: line_of(text, at),
        what,
    };
    let table = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |s| s.start);
        fail((at, e.message().trim().replace('\n', ", ")))
    })?;
    let mut reader = Reader {
        path: &shown,
        text,
        layer: Layer::default(),
    };
    reader.cluster("", table.get_ref()).map_err(fail)?;
    Ok(reader.layer)
}

/// Reads only the cluster's name, whatever else is wrong in the file. Some verbs need no more.
///
/// # Errors
/// Fails if the file is not TOML where it names the cluster.
pub(crate) fn cluster_named(path: &Path, text: &str) -> Result<Layer, Diagnosis> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let named = table
        .get_ref()
        .iter()
        .find(|(n, _)| n.get_ref() == "cluster");
    // A mistake elsewhere must not stop `status` and `down`, nor lead them to another cluster.
    let names = |(_, line): &(usize, &str)| {
        line.trim_start_matches([' ', '\t', '"', '\''])
            .starts_with("cluster")
    };
    let naming = text.lines().enumerate().find(names).map(|(n, _)| n + 1);
    let line = |e: &toml::de::Error| line_of(text, e.span().map_or(0, |s| s.start));
    if let Some(e) = errors.iter().find(|e| naming == Some(line(e))).or_else(|| {
        errors
            .first()
            .filter(|_| naming.is_some() && named.is_none())
    }) {
        return Err(Diagnosis {
            path: path.display().to_string(),
            line: line(e),
            what: e.message().trim().replace('\n', ", "),
        });
    }
    let mut layer = Layer::default();
    if let Some((name, value)) = named
        && let DeValue::String(cluster) = value.get_ref()
    {
        let source = Source::File {
            path: path.display().to_string(),
            line: line_of(text, name.span().start),
        };
        layer.set_text(Key::cluster("cluster"), cluster, source);
    }
    Ok(layer)
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    layer: Layer,
}

impl Reader<'_> {
    /// Reads a table of keys that concern the whole cluster. The keys' names begin with `prefix`.
    fn cluster(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), Fault> {
        for (name, value) in in_order(table) {
            let full = format!("{prefix}{}", name.get_ref());
            if full == "roles" {
                self.roles(inner(&full, name, value)?)?;
            } else if is_table(&full) {
                self.cluster(&format!("{full}."), inner(&full, name, value)?)?;
            } else {
                let key = Key::parse(&full).filter(|_| !full.starts_with("roles."));
                let key = key.ok_or_else(|| (name.span().start, unknown(&full, &keys())))?;
                self.set(key, &full, name, value)?;
            }
        }
        Ok(())
    }

    /// Reads `[roles]`. A role with a name of the user's own replaces the list of default roles.
    fn roles(&mut self, table: &DeTable<'_>) -> Result<(), Fault> {
        for (name, value) in in_order(table) {
            let role = name.get_ref().as_ref();
            validate_name(role).map_err(|why| (name.span().start, why))?;
            let full = format!("roles.{role}");
            let fields = inner(&full, name, value)?;
            self.layer.add_role(role);
            if !is_default_role(role) {
                self.layer.replace_roles();
            }
            for (name, value) in in_order(fields) {
                let full = format!("{full}.{}", name.get_ref());
                let key = Key::parse(&full).filter(|k| k.role_name() == Some(role));
                let key = key.ok_or_else(|| {
                    let known: Vec<_> = SETTINGS.iter().filter_map(|s| s.role_key).collect();
                    (name.span().start, unknown(name.get_ref(), &known))
                })?;
                self.set(key, &full, name, value)?;
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        key: Key,
        full: &str,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), Fault> {
        let kind = key.row().map_or(Kind::Text, |row| row.kind);
        let at = value.span().start;
        let read = kind
            .read(value)?
            .ok_or_else(|| (at, format!("`{full}` must be {}", kind.expected())))?;
        let source = Source::File {
            path: self.path.to_owned(),
            line: line_of(self.text, name.span().start),
        };
        let text = self.text.get(value.span()).unwrap_or_default();
        self.layer
            .set_read(key, text.trim_matches('"'), read, source);
        Ok(())
    }
}

/// Sorts keys as they stand in the file, because the tree is sorted by name.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(
    &'t Spanned<std::borrow::Cow<'i, str>>,
    &'t Spanned<DeValue<'i>>,
)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// Whether keys of the table begin with this name and a dot.
fn is_table(name: &str) -> bool {
    SETTINGS
        .iter()
        .any(|s| s.key.strip_prefix(name).is_some_and(|r| r.starts_with('.')))
}

fn inner<'t, 'i>(
    full: &str,
    name: &Spanned<impl AsRef<str>>,
    value: &'t Spanned<DeValue<'i>>,
) -> Result<&'t DeTable<'i>, Fault> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err((
            name.span().start,
            format!("`{full}` must be a table; write [{full}]"),
        )),
    }
}

/// All keys that the file may have outside of roles.
fn keys() -> Vec<&'static str> {
    let own = SETTINGS.iter().map(|s| s.key);
    own.filter(|k| !k.is_empty())
        .chain(ALIASES.iter().map(|a| a.key))
        .collect()
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

    fn value(layer: &Layer, key: &str) -> String {
        layer.get(key).unwrap_or_else(|| panic!("no {key}")).0
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let layer = read("masters = 1\nmaster_ram = \"1G\"\ndisk = 8\n[network]\nsubnet = \"10.1.0.0/24\"\n[image]\npackages = [\"vim\", \"curl\"]\n[dns]\nrecords = [\"a A 192.0.2.1\", 'b TXT \"c d\"']\n").unwrap();
        assert_eq!(value(&layer, "masters"), "1");
        assert_eq!(value(&layer, "disk"), "8G");
        assert_eq!(value(&layer, "network.subnet"), "10.1.0.0/24");
        assert_eq!(value(&layer, "image.packages"), "vim curl");
        assert_eq!(value(&layer, "dns.records"), "a A 192.0.2.1 b TXT \"c d\"");
        let path = "kvmc.toml".to_owned();
        assert_eq!(
            layer.get("network.subnet").unwrap().1,
            Source::File { path, line: 5 }
        );
    }

    #[test]
    fn roles_are_read_with_all_settings_of_a_machine() {
        let layer = read(
            "[roles.web]\ncount = 2\nvcpus = 1\nram = \"512M\"\ndisk = 6\nimage = \"debian-13\"\nrestart = \"always\"\ngroups = [\"web\", \"all_of_them\"]\nvars = { port = 8080, name = \"1.10\", on = true, list = [1, 0x10] }\nnetworks = []\nprefix = \"w\"\n[roles.empty]\ncount = 0\n",
        )
        .unwrap();
        for (field, expected) in [
            ("count", "2"),
            ("vcpus", "1"),
            ("ram", "512M"),
            ("disk", "6G"),
            ("image", "debian-13"),
            ("restart", "always"),
            ("groups", "web all_of_them"),
            ("networks", ""),
            ("prefix", "w"),
            (
                "vars",
                "{\"list\":[1,16],\"name\":\"1.10\",\"on\":true,\"port\":8080}",
            ),
        ] {
            assert_eq!(value(&layer, &format!("roles.web.{field}")), expected);
        }
        assert_eq!(value(&layer, "roles.empty.count"), "0");
    }

    #[test]
    fn an_unknown_key_is_named_with_file_line_and_nearest_key() {
        for (text, expected) in [
            (
                "masters = 3\nwrokers = 2\n",
                "kvmc.toml:2: unknown key `wrokers`; did you mean `workers`?",
            ),
            (
                "[network]\n\nsubnit = \"x\"\n",
                "kvmc.toml:3: unknown key `network.subnit`; did you mean `network.subnet`?",
            ),
            (
                "[roles.a]\ncuont = 1\n",
                "kvmc.toml:2: unknown key `cuont`; did you mean `count`?",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        for far in ["user = 1", "bogus = 1", "[roles.a]\nzzz = 1", "x = 1"] {
            let error = read(far).unwrap_err();
            assert!(error.contains("; expected "), "{error}");
        }
    }

    #[test]
    fn networks_switches_and_forwards_are_read() {
        let layer = read(
            "forward = [\"8080:lbl0:80\", \"53:lbl0:53/udp\"]\n[network]\nipv6 = true\n\n[[networks]]\nname = \"storage\"\nsubnet = \"10.9.0.0/24\"\nipv6 = true\n[[networks]]\nname = \"b\"\nsubnet = \"10.8.0.0/24\"\n",
        )
        .unwrap();
        assert_eq!(value(&layer, "forward"), "8080:lbl0:80 53:lbl0:53/udp");
        assert_eq!(value(&layer, "network.ipv6"), "true");
        assert_eq!(
            value(&layer, "networks"),
            "name=storage,subnet=10.9.0.0/24,ipv6=true; name=b,subnet=10.8.0.0/24"
        );
        for (text, expected) in [
            (
                "[[networks]]\nname = \"a\"\nsubnt = \"x\"\n",
                "kvmc.toml:3: unknown key `subnt`; did you mean `subnet`?",
            ),
            (
                "[[networks]]\nipv6 = \"true\"\n",
                "kvmc.toml:2: `ipv6` must be true or false",
            ),
            (
                "[networks]\nname = \"a\"\n",
                "kvmc.toml:1: `networks` must be a list of tables; write [[networks]]",
            ),
            (
                "[[networks]]\nsubnet = \"10.8.0.0/24\"\n",
                "kvmc.toml:1: a network has no name; add one such as name = \"storage\"",
            ),
            (
                "[network]\nipv6 = \"true\"\n",
                "kvmc.toml:2: `network.ipv6` must be true or false",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_mistake_elsewhere_hides_no_clusters_name() {
        let named = |text: &str| cluster_named(Path::new("kvmc.toml"), text);
        let lab = |text: &str| value(&named(text).unwrap(), "cluster");
        assert_eq!(lab("masters = \ncluster = \"lab\"\n"), "lab");
        assert_eq!(lab("cluster = \"lab\"\n[roles\nx"), "lab");
        assert_eq!(named("masters = \n").unwrap(), Layer::default());
        // Which cluster is meant is not known.
        assert!(named("cluster = lab\n").is_err());
        assert!(named("cluster = \"lab\n").is_err());
    }

    #[test]
    fn wrong_types_and_syntax_are_refused() {
        assert_eq!(
            read("masters = \"many\"\nmasters = 3")
                .unwrap_err()
                .split(':')
                .nth(1),
            Some("2"),
            "a duplicate key is an error at its own line"
        );
        for (text, expected) in [
            (
                "master_ram = 2",
                "kvmc.toml:1: `master_ram` must be a size such as \"2G\"",
            ),
            (
                "network = 3",
                "kvmc.toml:1: `network` must be a table; write [network]",
            ),
            (
                "roles = 3",
                "kvmc.toml:1: `roles` must be a table; write [roles]",
            ),
            (
                "roles.a = 3",
                "kvmc.toml:1: `roles.a` must be a table; write [roles.a]",
            ),
            (
                "[roles.a]\nvars = 3",
                "kvmc.toml:2: `roles.a.vars` must be a table",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        let error = read("[roles.\"A b\"]\n").unwrap_err();
        assert!(error.contains("`A b` is not a role name"), "{error}");
        assert!(read("= =").is_err());
        assert_eq!(read("").unwrap(), Layer::default());
    }

    #[test]
    fn the_clusters_name_is_read_even_if_other_keys_are_wrong() {
        let named = |text| cluster_named(Path::new("kvmc.toml"), text).map(|l| l.get("cluster"));
        let text = "wrokers = 2\ncluster = \"lab\"\n";
        assert_eq!(named(text).unwrap().unwrap().0, "lab");
        assert_eq!(named("wrokers = 2\n"), Ok(None));
        assert_eq!(named("= =").unwrap(), None);
    }
}

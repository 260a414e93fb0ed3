//! Reads `kvmc.toml` from TOML's own tree, so that errors can name an unknown key's line and the nearest known key.

use std::path::Path;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::alias::ALIASES;
use super::given::Layer;
use super::key::Key;
use super::kind::Kind;
use super::names::validate_name;
use super::nearest::unknown;
use super::role::is_default_role;
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
            } else if full == "nodes" {
                self.nodes(inner(&full, name, value)?)?;
            } else if is_table(&full) {
                self.cluster(&format!("{full}."), inner(&full, name, value)?)?;
            } else {
                let key = Key::parse(&full)
                    .filter(|_| ["roles.", "nodes."].iter().all(|t| !full.starts_with(t)));
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

    /// Reads `[nodes]`, the settings of single nodes.
    fn nodes(&mut self, table: &DeTable<'_>) -> Result<(), Fault> {
        for (name, value) in in_order(table) {
            let full = format!("nodes.{}", name.get_ref());
            for (name, value) in in_order(inner(&full, name, value)?) {
                let full = format!("{full}.{}", name.get_ref());
                let key = Key::parse(&full).ok_or_else(|| {
                    let known: Vec<_> = SETTINGS.iter().filter_map(|s| s.node_key).collect();
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
mod tests;

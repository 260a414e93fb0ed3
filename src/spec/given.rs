//! The values that one layer of settings gives: the file, the environment, the flags, or the existing cluster.

use std::collections::BTreeMap;

use super::key::Key;
use super::numbering::Numbering;
use super::source::Source;
use super::value::Value;

/// A value as it was given. An unreadable value is an error only if no higher layer replaces it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Result<Value, (String, String)>,
    pub(super) source: Source,
}

/// The values of one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layer {
    pub(super) entries: BTreeMap<Key, Entry>,
    /// The roles that the layer names, in its order.
    pub(super) roles: Vec<String>,
    /// The layer's roles replace those of lower layers.
    pub(super) has_all_roles: bool,
    /// The numbers that the nodes of existing roles have.
    pub(super) numbering: BTreeMap<String, Numbering>,
}

impl Layer {
    /// Sets a value of the setting's own type.
    pub(crate) fn set(&mut self, key: Key, value: Value, source: Source) {
        if let Value::Counts(counts) = value {
            for (role, count) in counts {
                self.set(
                    Key::role(&role, "count"),
                    Value::Number(count),
                    source.clone(),
                );
            }
            return;
        }
        if let (Some(role), "count") = (&key.role, key.field) {
            self.add_role(role);
        }
        let value = Ok(value);
        self.entries.insert(key, Entry { value, source });
    }

    /// Sets a value from text. An error in it shows when the value is used.
    pub(crate) fn set_text(&mut self, key: Key, text: &str, source: Source) {
        let read = key.kind().parse(text);
        self.set_read(key, text, read, source);
    }

    /// Sets a list from its items.
    pub(crate) fn set_items(&mut self, key: Key, items: Vec<String>, source: Source) {
        let text = items.join(" ");
        let read = key.kind().of_items(items);
        self.set_read(key, &text, read, source);
    }

    pub(super) fn set_read(
        &mut self,
        key: Key,
        text: &str,
        read: Result<Value, String>,
        source: Source,
    ) {
        match read {
            Ok(value) => self.set(key, value, source),
            Err(why) => {
                if let (Some(role), "count") = (&key.role, key.field) {
                    self.add_role(role);
                }
                let value = Err((text.to_owned(), why));
                self.entries.insert(key, Entry { value, source });
            }
        }
    }

    /// Names a role, with its default number of nodes unless another is set.
    pub(super) fn add_role(&mut self, role: &str) {
        if !self.roles.iter().any(|r| r == role) {
            self.roles.push(role.to_owned());
        }
    }

    /// Makes this layer's roles replace those of lower layers.
    pub(crate) const fn replace_roles(&mut self) {
        self.has_all_roles = true;
    }

    /// Says which numbers the nodes of a role have, where some are missing.
    pub(super) fn number(&mut self, role: &str, numbering: Numbering) {
        self.numbering.insert(role.to_owned(), numbering);
    }

    #[cfg(test)]
    pub(super) fn get(&self, key: &str) -> Option<(String, Source)> {
        let entry = self.entries.get(&Key::parse(key)?)?;
        let text = entry.value.as_ref().map(ToString::to_string);
        Some((
            text.unwrap_or_else(|(text, _)| text.clone()),
            entry.source.clone(),
        ))
    }
}

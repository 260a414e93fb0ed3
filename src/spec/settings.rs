//! Settings by key, each with the layer it came from: flag over environment over file over the cluster that exists
//! over default.

use std::collections::BTreeMap;

use super::alias::{ALIASES, alias_of};
use super::error::SpecError;
use super::key::Key;
use super::kind::Kind;
use super::role::is_default_role;
use super::source::Source;
use super::table::SETTINGS;
use super::value::Value;

/// A value as it was given. One that cannot be read is an error only where no higher layer has another.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    value: Result<Value, (String, String)>,
    source: Source,
}

/// Values of one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Layer {
    entries: BTreeMap<Key, Entry>,
    /// Roles that it has nodes of, in its order.
    roles: Vec<String>,
    /// Its roles are all that there are: the default ones go, unless they are among them.
    has_all_roles: bool,
}

impl Layer {
    /// Sets a value whose type is the setting's.
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

    /// Sets a value that was given as text; what is wrong with it is told when it is used.
    pub(crate) fn set_text(&mut self, key: Key, text: &str, source: Source) {
        let read = key.kind().parse(text);
        self.set_read(key, text, read, source);
    }

    /// Sets a list that was given item by item.
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

    /// Names a role, which has its default number of nodes unless another is given.
    pub(super) fn add_role(&mut self, role: &str) {
        if !self.roles.iter().any(|r| r == role) {
            self.roles.push(role.to_owned());
        }
    }

    /// Has this layer's roles be all that there are.
    pub(crate) const fn replace_roles(&mut self) {
        self.has_all_roles = true;
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

/// Every setting with its value and source.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The lowest first; the defaults are the lowest.
    layers: Vec<Layer>,
    roles: Vec<String>,
}

impl Settings {
    /// Lays `layers` over the defaults, the later over the earlier.
    pub(crate) fn resolve(layers: impl IntoIterator<Item = Layer>) -> Self {
        let mut all = vec![defaults()];
        all.extend(layers);
        let mut roles: Vec<String> = Vec::new();
        for layer in &all {
            if layer.has_all_roles {
                roles.clear();
            }
            for role in &layer.roles {
                if !roles.contains(role) {
                    roles.push(role.clone());
                }
            }
        }
        Self { layers: all, roles }
    }

    /// The names of the roles, the default ones first.
    pub(crate) fn roles(&self) -> &[String] {
        &self.roles
    }

    /// A setting that was asked for of a role that there is not. Those of the default roles may stand in the
    /// environment, whatever the cluster's roles are.
    pub(crate) fn stray(&self) -> Option<&Key> {
        let entries = self.layers.iter().flat_map(|l| &l.entries);
        let mut strays = entries.filter(|(key, entry)| {
            let role = key.role.as_ref();
            let is_known = role.is_none_or(|r| self.roles.contains(r) || is_default_role(r));
            !is_known && entry.source.is_asked()
        });
        strays.next().map(|(key, _)| key)
    }

    /// A value of the whole cluster.
    ///
    /// # Errors
    /// The value given is none of the setting's.
    pub(crate) fn cluster(&self, field: &'static str) -> Result<&Value, SpecError> {
        self.value(&Key::cluster(field))
    }

    /// The value of a setting; a role's is its own, or every machine's where a higher layer has that.
    ///
    /// # Errors
    /// The value given is none of the setting's.
    pub(crate) fn value(&self, key: &Key) -> Result<&Value, SpecError> {
        static NONE: Value = Value::Text(String::new());
        let Some((_, entry)) = self.find(key) else {
            return Ok(&NONE);
        };
        entry.value.as_ref().map_err(|(text, why)| SpecError {
            key: key.to_string(),
            value: text.clone(),
            why: why.clone(),
            hint: None,
            origin: Some(Box::new(entry.source.clone())),
        })
    }

    /// Where the value of a setting came from.
    pub(crate) fn source(&self, key: &Key) -> Source {
        self.find(key)
            .map_or(Source::Default, |(_, entry)| entry.source.clone())
    }

    /// An error about a setting that says where its value came from.
    pub(crate) fn error(&self, key: &Key, why: impl Into<String>) -> SpecError {
        SpecError {
            value: self.value(key).map(ToString::to_string).unwrap_or_default(),
            origin: Some(Box::new(self.source(key))),
            ..SpecError::of(key.to_string(), why)
        }
    }

    fn find(&self, key: &Key) -> Option<(Key, &Entry)> {
        let general = key
            .role
            .as_ref()
            .and_then(|_| key.row())
            .filter(|row| !row.key.is_empty())
            .map(|row| Key::cluster(row.key));
        self.layers.iter().rev().find_map(|layer| {
            let own = layer.entries.get(key).map(|e| (key.clone(), e));
            own.or_else(|| {
                let general = general.clone()?;
                let entry = layer.entries.get(&general)?;
                Some((general, entry))
            })
        })
    }

    /// Every setting in the table's order, those of roles behind the cluster's own: its name, value and source.
    pub(crate) fn rows(&self) -> Vec<(String, String, Source)> {
        let mut keys = Vec::new();
        for row in SETTINGS {
            if !row.key.is_empty() && row.kind != Kind::Counts {
                keys.push(Key::cluster(row.key));
            }
            let Some(field) = row.role_key else { continue };
            for role in &self.roles {
                let key = Key::role(role, field);
                // What a default role has no word of its own for is said once, for every machine.
                let is_told = alias_of(role, field).is_some()
                    || self.find(&key).is_some_and(|(found, _)| found == key);
                if is_told {
                    keys.push(key);
                }
            }
        }
        let shown = |key: &Key| match self.find(key) {
            Some((_, entry)) => match &entry.value {
                Ok(value) => value.to_string(),
                Err((text, _)) => text.clone(),
            },
            None => String::new(),
        };
        keys.iter()
            .map(|key| (key.to_string(), shown(key), self.source(key)))
            .collect()
    }

    /// Puts what was found out in the place of what was asked for, such as a subnet in that of `auto`.
    pub(crate) fn settle(&mut self, key: Key, value: Value) {
        let source = self.source(&key);
        let mut layer = Layer::default();
        layer.set(key, value, source);
        self.layers.push(layer);
    }

    /// Leaves one role alone, with all that is said of it.
    pub(crate) fn reduce_to(&mut self, role: &str) {
        self.roles = vec![role.to_owned()];
    }

    /// Lays one layer more over all.
    pub(crate) fn over(mut self, layer: Layer) -> Self {
        self.layers.remove(0);
        self.layers.push(layer);
        Self::resolve(self.layers)
    }
}

fn defaults() -> Layer {
    let mut layer = Layer::default();
    for row in SETTINGS
        .iter()
        .filter(|s| !s.key.is_empty() && s.kind != Kind::Counts)
    {
        layer.set_text(Key::cluster(row.key), row.default, Source::Default);
    }
    for alias in ALIASES.iter().filter(|a| !a.default.is_empty()) {
        let key = Key::role(alias.role, alias.field);
        layer.set_text(key, alias.default, Source::Default);
    }
    layer
}

/// The layer that the environment gives; `read` is `std::env::var` outside tests.
///
/// An empty variable counts as unset, as it does for the scripts' `${VAR:-default}`.
pub(crate) fn environment(read: impl Fn(&str) -> Option<String>) -> Layer {
    let mut layer = Layer::default();
    let mut set = |key: Key, variable: &'static str| {
        let value = read(variable).filter(|v| !v.trim().is_empty());
        if let Some(value) = value {
            layer.set_text(key, &value, Source::Environment(variable));
        }
    };
    for row in SETTINGS {
        if let Some(variable) = row.variable {
            set(Key::cluster(row.key), variable);
        }
    }
    for alias in ALIASES {
        set(Key::role(alias.role, alias.field), alias.variable);
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(settings: &Settings, key: &str) -> String {
        let value = settings.value(&Key::parse(key).unwrap());
        value.map_or_else(|e| e.to_string(), ToString::to_string)
    }

    fn file(settings: &[(&str, &str)]) -> Layer {
        let mut layer = Layer::default();
        for (line, (key, value)) in settings.iter().enumerate() {
            let path = "kvmc.toml".to_owned();
            let source = Source::File { path, line };
            layer.set_text(Key::parse(key).unwrap(), value, source);
        }
        layer
    }

    #[test]
    fn later_layers_win() {
        let environment = environment(|name| (name == "VIRTUAL_CPUS").then(|| "3".to_owned()));
        let mut flags = Layer::default();
        let source = Source::Flag("--masters".to_owned());
        flags.set_text(Key::parse("masters").unwrap(), "1", source);
        let settings = Settings::resolve([file(&[("vcpus", "2")]), environment, flags]);
        assert_eq!(text(&settings, "vcpus"), "3");
        assert_eq!(
            settings.source(&Key::cluster("vcpus")),
            Source::Environment("VIRTUAL_CPUS")
        );
        assert_eq!(text(&settings, "masters"), "1");
        assert_eq!(text(&settings, "disk"), "4G");
        assert!(!settings.source(&Key::cluster("disk")).is_asked());
    }

    #[test]
    fn a_roles_own_value_wins_in_its_layer_and_every_machines_wins_over_lower_ones() {
        let low = file(&[
            ("roles.masters.disk", "8G"),
            ("ram", "1G"),
            ("worker_ram", "3G"),
        ]);
        let settings = Settings::resolve([low.clone()]);
        assert_eq!(text(&settings, "roles.masters.disk"), "8G");
        assert_eq!(text(&settings, "roles.workers.disk"), "4G");
        assert_eq!(text(&settings, "worker_ram"), "3G");
        assert_eq!(text(&settings, "master_ram"), "1G");
        let settings = Settings::resolve([low, file(&[("disk", "6G")])]);
        assert_eq!(text(&settings, "roles.masters.disk"), "6G");
    }

    #[test]
    fn a_value_that_is_wrong_matters_only_where_nothing_is_over_it() {
        let settings = Settings::resolve([
            file(&[("disk", "x"), ("vcpus", "y")]),
            file(&[("disk", "5G")]),
        ]);
        assert_eq!(text(&settings, "disk"), "5G");
        assert_eq!(
            text(&settings, "vcpus"),
            "vcpus: `y` vcpus; a node can have 1 to 255 (from kvmc.toml:1)"
        );
    }

    #[test]
    fn an_empty_variable_is_unset() {
        assert_eq!(environment(|_| Some(String::new())), Layer::default());
    }

    #[test]
    fn roles_of_ones_own_replace_the_default_ones_but_for_those_that_are_named() {
        let mut own = file(&[("roles.etcd.count", "2")]);
        own.replace_roles();
        assert_eq!(Settings::resolve([own.clone()]).roles(), ["etcd"]);
        let more = file(&[("masters", "1"), ("worker_ram", "1G")]);
        assert_eq!(Settings::resolve([own, more]).roles(), ["etcd", "masters"]);
        let added = file(&[("roles.etcd.count", "2")]);
        assert_eq!(Settings::resolve([added]).roles().len(), 4);
    }
}

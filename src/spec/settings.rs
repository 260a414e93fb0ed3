//! Settings by key, each with its source. Flags override the environment, which overrides the file, which overrides
//! the existing cluster, which overrides the defaults.

use super::alias::{ALIASES, alias_of};
use super::error::SpecError;
use super::given::{Entry, Layer};
use super::key::Key;
use super::kind::Kind;
use super::role::is_default_role;
use super::source::Source;
use super::table::SETTINGS;
use super::value::Value;

/// All settings with their values and sources.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The lowest layer comes first, which holds the defaults.
    pub(super) layers: Vec<Layer>,
    roles: Vec<String>,
}

impl Settings {
    /// Lays `layers` over the defaults, each over the previous one.
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

    /// The numbers that no node of a role has, if it is to have so many nodes.
    pub(super) fn gaps(&self, role: &str, count: u32) -> Vec<u32> {
        let mut layers = self.layers.iter().rev();
        let numbering = layers.find_map(|layer| layer.numbering.get(role));
        numbering.map_or_else(Vec::new, |n| n.with_count(count).gaps())
    }

    /// A requested setting of an unknown role. Settings of the default roles are allowed even if the cluster lacks
    /// these roles, because they may be set in the environment.
    pub(crate) fn stray(&self) -> Option<&Key> {
        let entries = self.layers.iter().flat_map(|l| &l.entries);
        let mut strays = entries.filter(|(key, entry)| {
            let role = key.role.as_ref();
            let is_known = role.is_none_or(|r| self.roles.contains(r) || is_default_role(r));
            !is_known && entry.source.is_asked()
        });
        strays.next().map(|(key, _)| key)
    }

    /// A setting of the whole cluster.
    ///
    /// # Errors
    /// Fails if the given value does not fit the setting.
    pub(crate) fn cluster(&self, field: &'static str) -> Result<&Value, SpecError> {
        self.value(&Key::cluster(field))
    }

    /// The value of a setting. A role's own value counts, unless a higher layer has one for the whole cluster.
    ///
    /// # Errors
    /// Fails if the given value does not fit the setting.
    pub(crate) fn value(&self, key: &Key) -> Result<&Value, SpecError> {
        static NONE: Value = Value::Text(String::new());
        let Some((found, entry)) = self.find(key) else {
            return Ok(&NONE);
        };
        entry.value.as_ref().map_err(|(text, why)| SpecError {
            // The key that the user wrote: `ram` where a role has no value of its own.
            key: found.to_string(),
            value: text.clone(),
            why: why.clone(),
            hint: None,
            origin: Some(Box::new(entry.source.clone())),
        })
    }

    /// The source of a setting's value.
    pub(crate) fn source(&self, key: &Key) -> Source {
        self.find(key)
            .map_or(Source::Default, |(_, entry)| entry.source.clone())
    }

    /// An error about a setting, with the source of its value.
    pub(crate) fn error(&self, key: &Key, why: impl Into<String>) -> SpecError {
        SpecError {
            value: self.value(key).map(ToString::to_string).unwrap_or_default(),
            origin: Some(Box::new(self.source(key))),
            ..SpecError::of(self.written(key).to_string(), why)
        }
    }

    /// The key under which the value of a setting was given.
    fn written(&self, key: &Key) -> Key {
        self.find(key)
            .map_or_else(|| key.clone(), |(found, _)| found)
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

    /// Every setting with its name, value and source, in the table's order. Those of roles follow those of the
    /// cluster.
    pub(crate) fn rows(&self) -> Vec<(String, String, Source)> {
        let mut keys = Vec::new();
        for row in SETTINGS {
            if !row.key.is_empty() && row.kind != Kind::Counts {
                keys.push(Key::cluster(row.key));
            }
            let Some(field) = row.role_key else { continue };
            for role in &self.roles {
                let key = Key::role(role, field);
                // If a default role has no own value, the row for the whole cluster is enough.
                let is_told = alias_of(role, field).is_some()
                    || self.find(&key).is_some_and(|(found, _)| found == key);
                if is_told {
                    keys.push(key);
                }
            }
        }
        keys.extend(self.node_keys());
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

    /// Replaces a requested value by the one found, for instance the subnet `auto`.
    pub(crate) fn settle(&mut self, key: Key, value: Value) {
        let source = self.source(&key);
        let mut layer = Layer::default();
        layer.set(key, value, source);
        self.layers.push(layer);
    }

    /// Removes all roles except one, with their settings.
    pub(crate) fn reduce_to(&mut self, role: &str) {
        self.roles = vec![role.to_owned()];
    }

    /// Lays one more layer over all others.
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

/// The layer of the environment. `read` is `std::env::var` outside tests.
///
/// An empty variable counts as unset, like in `${VAR:-default}` of the original scripts.
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
    fn an_error_names_the_key_that_was_written() {
        for (written, why) in [("ram", "5"), ("master_ram", "5"), ("restart", "sometimes")] {
            let settings = Settings::resolve([file(&[(written, why)])]);
            let error = crate::spec::check(&settings).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{written}: ")), "{error}");
        }
    }

    #[test]
    fn a_later_layer_overrides_an_earlier_one() {
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
    fn a_roles_value_wins_in_its_layer_and_a_clusters_value_wins_over_lower_layers() {
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
    fn a_wrong_value_is_an_error_only_if_no_layer_overrides_it() {
        let settings = Settings::resolve([
            file(&[("disk", "x"), ("vcpus", "y")]),
            file(&[("disk", "5G")]),
        ]);
        assert_eq!(text(&settings, "disk"), "5G");
        assert_eq!(
            text(&settings, "vcpus"),
            "vcpus: `y` is not a number of vcpus; expected 1 to 255 (from kvmc.toml:1)"
        );
    }

    #[test]
    fn an_empty_variable_is_unset() {
        assert_eq!(environment(|_| Some(String::new())), Layer::default());
    }

    #[test]
    fn the_users_roles_replace_the_default_ones_except_those_that_are_named() {
        let mut own = file(&[("roles.etcd.count", "2")]);
        own.replace_roles();
        assert_eq!(Settings::resolve([own.clone()]).roles(), ["etcd"]);
        let more = file(&[("masters", "1"), ("worker_ram", "1G")]);
        assert_eq!(Settings::resolve([own, more]).roles(), ["etcd", "masters"]);
        let added = file(&[("roles.etcd.count", "2")]);
        assert_eq!(Settings::resolve([added]).roles().len(), 4);
    }
}

//! The names of settings.

use std::fmt;

use super::alias::{ALIASES, alias_of};
use super::kind::Kind;
use super::nearest::unknown;
use super::table::{SETTINGS, Setting, node_setting, role_setting, setting};

/// A setting of the cluster, of one of its roles or of one of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The role's name; `None` for the whole cluster.
    pub(super) role: Option<String>,
    /// The node's name, for a setting of one node.
    pub(super) node: Option<String>,
    /// The key in the table's row, that for the cluster or that for a role.
    pub(super) field: &'static str,
}

impl Key {
    /// A setting of the whole cluster. The key is one of the table's.
    pub(crate) const fn cluster(field: &'static str) -> Self {
        Self {
            role: None,
            node: None,
            field,
        }
    }

    /// A setting of a role. The key is one of the table's keys for roles.
    pub(crate) fn role(role: &str, field: &'static str) -> Self {
        Self {
            role: Some(role.to_owned()),
            node: None,
            field,
        }
    }

    /// A setting of a node. The key is one of the table's keys for nodes.
    pub(crate) fn node(node: &str, field: &'static str) -> Self {
        Self {
            role: None,
            node: Some(node.to_owned()),
            field,
        }
    }

    /// Reads a key as in `kvmc.toml`, with dots, or an alias.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(alias) = ALIASES.iter().find(|a| a.key == text) {
            return Some(Self::role(alias.role, alias.field));
        }
        if let Some(rest) = text.strip_prefix("roles.") {
            let (role, field) = rest.split_once('.')?;
            let field = role_setting(field)?.role_key?;
            return Some(Self::role(role, field));
        }
        if let Some(rest) = text.strip_prefix("nodes.") {
            let (node, field) = rest.split_once('.')?;
            let field = node_setting(field)?.node_key?;
            return Some(Self::node(node, field));
        }
        setting(text).map(|row| Self::cluster(row.key))
    }

    pub(crate) fn role_name(&self) -> Option<&str> {
        self.role.as_deref()
    }

    pub(crate) fn row(&self) -> Option<&'static Setting> {
        match (&self.role, &self.node) {
            (Some(_), _) => role_setting(self.field),
            (None, Some(_)) => node_setting(self.field),
            (None, None) => setting(self.field),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.row().map_or(Kind::Text, |row| row.kind)
    }
}

impl fmt::Display for Key {
    /// Shows the alias if there is one, because users know that name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            return write!(f, "nodes.{node}.{}", self.field);
        }
        match &self.role {
            None => f.write_str(self.field),
            Some(role) => match alias_of(role, self.field) {
                Some(alias) => f.write_str(alias.key),
                None => write!(f, "roles.{role}.{}", self.field),
            },
        }
    }
}

/// The error for an unknown key, also for one of a role.
pub(crate) fn unknown_setting(name: &str) -> String {
    if let Some((role, _)) = name.strip_prefix("roles.").and_then(|r| r.split_once('.')) {
        let fields = SETTINGS.iter().filter_map(|s| s.role_key);
        let known: Vec<_> = fields
            .map(|field| format!("roles.{role}.{field}"))
            .collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        return unknown(name, &known).replace(&format!(" `roles.{role}."), " `roles.NAME.");
    }
    if let Some((node, _)) = name.strip_prefix("nodes.").and_then(|r| r.split_once('.')) {
        let fields = SETTINGS.iter().filter_map(|s| s.node_key);
        let known: Vec<_> = fields
            .map(|field| format!("nodes.{node}.{field}"))
            .collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        return unknown(name, &known);
    }
    let own = SETTINGS.iter().map(|s| s.key).filter(|k| !k.is_empty());
    let known: Vec<_> = own.chain(ALIASES.iter().map(|a| a.key)).collect();
    unknown(name, &known)
}

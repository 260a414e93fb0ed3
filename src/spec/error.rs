//! What is wrong with a setting.

use super::source::Source;

/// A setting that cannot be used: which one, its value, why, and where the value came from.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key}: {why}{}", from(.origin))]
pub(crate) struct SpecError {
    /// The setting, as the user knows it: `master_ram`, `roles.etcd.disk`.
    pub(crate) key: String,
    /// The value, as it was given; empty where the error is about several.
    pub(crate) value: String,
    /// What is wrong with it, and what is accepted.
    pub(crate) why: String,
    /// A command or a change of the file that helps.
    pub(crate) hint: Option<String>,
    /// None where the value is nobody's in particular.
    pub(crate) origin: Option<Box<Source>>,
}

fn from(origin: &Option<Box<Source>>) -> String {
    match origin {
        Some(source) if source.is_asked() => format!(" (from {source})"),
        _ => String::new(),
    }
}

impl SpecError {
    /// An error about settings together, of which `key` is the one to change.
    pub(crate) fn of(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: String::new(),
            why: why.into(),
            hint: None,
            origin: None,
        }
    }
}

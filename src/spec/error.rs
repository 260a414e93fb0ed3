//! Errors in settings.

use super::source::Source;

/// A setting that cannot be used: its name, its value, the reason, and the source of the value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key}: {why}{}", from(.origin))]
pub(crate) struct SpecError {
    /// The setting's name for the user: `master_ram`, `roles.etcd.disk`.
    pub(crate) key: String,
    /// The value as it was given; empty if the error concerns several settings.
    pub(crate) value: String,
    /// The reason, and what is accepted.
    pub(crate) why: String,
    /// A command or a change of the file that helps.
    pub(crate) hint: Option<String>,
    /// `None` if the value has no single source.
    pub(crate) origin: Option<Box<Source>>,
}

fn from(origin: &Option<Box<Source>>) -> String {
    match origin {
        Some(source) if source.is_asked() => format!(" (from {source})"),
        _ => String::new(),
    }
}

impl SpecError {
    /// An error about several settings, of which `key` is the one to change.
    pub(crate) fn of(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: String::new(),
            why: why.into(),
            hint: None,
            origin: None,
        }
    }

    /// Adds a hint, which is shown below the error.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

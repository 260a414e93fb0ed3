//! `restart`: what becomes of a node whose QEMU ended by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When the keeper starts a node again that kvmc has not stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    #[default]
    Never,
    /// When it panicked, was killed, or its QEMU failed.
    OnFailure,
    /// Also when the guest powered off.
    Always,
}

impl Restart {
    const ALL: [Self; 3] = [Self::Never, Self::OnFailure, Self::Always];

    /// The policy of a name.
    ///
    /// # Errors
    /// The names there are.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|r| r.name() == text.trim())
            .ok_or_else(|| format!("`{text}` is none of never, on-failure, always"))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

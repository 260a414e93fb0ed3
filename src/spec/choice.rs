//! Settings whose value is one of a few words.

use serde::{Deserialize, Serialize};

/// Any free subnet.
pub(crate) const AUTO: &str = "auto";

/// The requested accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccelChoice {
    /// KVM if it works, else TCG.
    Auto,
    Kvm,
    Tcg,
}

impl AccelChoice {
    const ALL: [Self; 3] = [Self::Auto, Self::Kvm, Self::Tcg];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|c| c.name() == text.trim());
        found.ok_or_else(|| format!("unknown accelerator `{text}`; expected auto, kvm or tcg"))
    }
}

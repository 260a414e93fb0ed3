//! `restart`: the policy for a node whose QEMU ended by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Cause;

/// When the keeper restarts a node that kvmc has not stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Restart {
    #[default]
    Never,
    /// After a panic, a kill or a failure of QEMU.
    OnFailure,
    /// Also after the guest powered off.
    Always,
}

impl Restart {
    const ALL: [Self; 3] = [Self::Never, Self::OnFailure, Self::Always];

    /// Parses the name of a policy.
    ///
    /// # Errors
    /// Fails with the known names.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|r| r.name() == text.trim())
            .ok_or_else(|| {
                format!("unknown restart policy `{text}`; expected never, on-failure or always")
            })
    }

    /// Whether the keeper restarts a node that ended for this cause.
    pub(crate) const fn applies_to(self, cause: &Cause) -> bool {
        match (self, cause) {
            (Self::Never, _) | (_, Cause::Quit | Cause::HostRebooted | Cause::Rebooted) => false,
            (Self::Always, _) => true,
            (Self::OnFailure, Cause::PoweredOff | Cause::Terminated | Cause::Unseen) => false,
            (Self::OnFailure, _) => true,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_applies_to_the_causes_it_names() {
        let killed = Cause::Killed {
            signal: 9,
            maybe_memory: false,
        };
        for (cause, on_failure, always) in [
            (Cause::PoweredOff, false, true),
            (Cause::Panicked, true, true),
            (Cause::OutOfMemory, true, true),
            (killed, true, true),
            (Cause::Quit, false, false),
            (Cause::HostRebooted, false, false),
        ] {
            assert!(!Restart::Never.applies_to(&cause));
            assert_eq!(Restart::OnFailure.applies_to(&cause), on_failure, "{cause}");
            assert_eq!(Restart::Always.applies_to(&cause), always, "{cause}");
        }
    }
}

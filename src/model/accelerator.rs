//! The accelerator of a node's vcpus.

use kvmc_images::Architecture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The host's processor through KVM, or QEMU's emulation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Accelerator {
    Kvm,
    Tcg {
        /// Why KVM is not used, in a few words.
        why: String,
        /// QEMU's whole output, for those who look for the cause.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        said: String,
    },
}

impl Accelerator {
    pub(crate) const fn is_kvm(&self) -> bool {
        matches!(self, Self::Kvm)
    }

    /// The `-cpu` of a guest.
    pub(crate) const fn cpu(&self, guest: Architecture) -> &'static str {
        let qemu = &guest.platform().qemu;
        match self {
            Self::Kvm => qemu.cpu,
            Self::Tcg { .. } => qemu.emulated_cpu,
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg { .. } => "TCG",
        }
    }
}

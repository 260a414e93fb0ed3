//! What a node's vcpus run on.

use kvmc_images::Architecture;
use serde::{Deserialize, Serialize};

/// What a node's vcpus run on: the host's processor by KVM, or QEMU's emulation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Accelerator {
    Kvm,
    Tcg {
        /// Why not KVM, in a few words.
        why: String,
        /// All that QEMU said of it; nothing for people who only want their cluster.
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

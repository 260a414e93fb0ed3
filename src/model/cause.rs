//! The causes of a QEMU's end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a QEMU ended, or a guest rebooted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// The guest powered off.
    PoweredOff,
    /// The guest rebooted, and the node continues.
    Rebooted,
    /// The guest's kernel panicked.
    Panicked,
    /// kvmc ended QEMU.
    Quit,
    /// A signal asked QEMU to end, and it ended normally.
    Terminated,
    /// The host's kernel killed QEMU because memory ran out.
    OutOfMemory,
    /// A signal killed QEMU. With `maybe_memory`, the kernel may have sent it, but its log cannot be read.
    Killed { signal: i32, maybe_memory: bool },
    /// QEMU ended itself, with this exit status and this last line of its log.
    Failed { status: i32, words: String },
    /// QEMU gave another reason, from its QAPI's `ShutdownCause`.
    Other(String),
    /// QEMU was killed or crashed. This kernel does not say which.
    Vanished,
    /// The host rebooted.
    HostRebooted,
    /// QEMU ended while no keeper ran.
    Unseen,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("the guest powered off"),
            Self::Rebooted => f.write_str("the guest rebooted"),
            Self::Panicked => f.write_str("the guest's kernel panicked"),
            Self::Quit => f.write_str("kvmc ended it"),
            Self::Terminated => f.write_str("a signal asked QEMU to end"),
            Self::OutOfMemory => f.write_str("killed by the host's kernel because memory ran out"),
            Self::Killed {
                signal,
                maybe_memory,
            } => {
                let memory = if *maybe_memory {
                    ", perhaps because memory ran out (/dev/kmsg cannot be read here)"
                } else {
                    ""
                };
                write!(f, "killed by signal {signal}{memory}")
            }
            Self::Failed { status, words } if words.is_empty() => {
                write!(f, "QEMU ended with exit status {status}")
            }
            Self::Failed { status, words } => {
                write!(f, "QEMU ended with exit status {status}: {words}")
            }
            Self::Other(reason) => write!(f, "QEMU ended ({reason})"),
            Self::Vanished => f.write_str("QEMU was killed or crashed"),
            Self::HostRebooted => f.write_str("the host rebooted"),
            Self::Unseen => f.write_str("QEMU ended while no keeper ran"),
        }
    }
}

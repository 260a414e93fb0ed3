//! Why a QEMU ended.

use serde::{Deserialize, Serialize};

/// Why a QEMU ended, or a guest went back to its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// By the guest.
    PoweredOff,
    /// By the guest; the node goes on.
    Rebooted,
    /// The guest's kernel.
    Panicked,
    /// By kvmc.
    Quit,
    /// QEMU was asked to end by a signal, and did so in order.
    Terminated,
    /// By the kernel, for want of memory.
    OutOfMemory,
    /// By a signal; `maybe_memory` where it may have been the kernel's, and its log is closed to us.
    Killed { signal: i32, maybe_memory: bool },
    /// QEMU ended itself, with this exit status and these last words.
    Failed { status: i32, words: String },
    /// QEMU gave another reason, of its QAPI's `ShutdownCause`.
    Other(String),
    /// Killed or crashed: this kernel does not say how.
    Vanished,
    /// With the host.
    HostRebooted,
    /// While there was no keeper to see it.
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
            Self::OutOfMemory => f.write_str("killed by the host's kernel for want of memory"),
            Self::Killed {
                signal,
                maybe_memory,
            } => {
                let memory = if *maybe_memory {
                    "; for the host's memory? /dev/kmsg cannot be read here"
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
            Self::Unseen => f.write_str("it ended while no keeper ran"),
        }
    }
}

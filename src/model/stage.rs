//! The stages of a node's start.

use serde::{Deserialize, Serialize};

/// How far a node has come, in the order it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It has its disk.
    Cloned,
    /// QEMU runs.
    Started,
    /// The guest has written to its console.
    Kernel,
    /// It runs, from a frozen machine's state.
    Woken,
    /// The agent has taken the identity.
    Identity,
    /// It holds its address.
    Lease,
    /// Its ssh banner was read.
    Ssh,
    /// All of it.
    Ready,
    /// QEMU has ended.
    Ended,
}

impl Stage {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cloned => "cloned",
            Self::Started => "started",
            Self::Kernel => "kernel",
            Self::Woken => "woken",
            Self::Identity => "identity",
            Self::Lease => "lease",
            Self::Ssh => "ssh",
            Self::Ready => "ready",
            Self::Ended => "ended",
        }
    }
}

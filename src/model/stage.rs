//! The stages of a node's start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stages of a node's start, in their order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Its disk exists.
    Cloned,
    /// QEMU runs.
    Started,
    /// The guest has written to its console.
    Kernel,
    /// The guest runs, from a frozen machine's state.
    Woken,
    /// The agent has taken the identity.
    Identity,
    /// The node has a lease.
    Lease,
    /// Its ssh banner was read.
    Ssh,
    /// The node is ready.
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

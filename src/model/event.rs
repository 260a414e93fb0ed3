//! What happened in a cluster, as the event log has it.

use serde::{Deserialize, Serialize};

use super::Stage;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) event: EventKind,
    /// A node's name, another machine's MAC, or empty for the cluster as a whole.
    pub(crate) node: String,
    /// In words, where there is more to say.
    #[serde(default)]
    pub(crate) note: String,
    /// Of the cluster, one more for each; 0 in logs of before events had numbers.
    #[serde(default)]
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) time: f64,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventKind {
    Cloned,
    Started,
    Kernel,
    Woken,
    Identity,
    Lease,
    Ssh,
    Ready,
    Ended,
    /// The guest went back to its boot.
    Rebooted,
    /// The guest stands still.
    Paused,
    Resumed,
    /// The connection to QEMU was lost.
    Lost,
    Regained,
    /// The keeper starts a node again that ended by itself.
    Restarting,
    /// It does so no more.
    GivenUp,
    /// Rules were restored, or are in the way.
    Firewall,
    /// Whom other names are asked of.
    Resolvers,
    /// Leases cannot be stored.
    Unsaved,
    Saved,
    /// A machine asked by DHCP for an address that it cannot have.
    Refused,
    /// A machine found its address in use.
    Declined,
    /// Another machine uses a node's address.
    Conflict,
    /// Two machines send one client identifier.
    Shared,
    /// No address is left.
    Full,
    /// Of a later kvmc.
    #[serde(other)]
    Other,
}

impl From<Stage> for EventKind {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Cloned => Self::Cloned,
            Stage::Started => Self::Started,
            Stage::Kernel => Self::Kernel,
            Stage::Woken => Self::Woken,
            Stage::Identity => Self::Identity,
            Stage::Lease => Self::Lease,
            Stage::Ssh => Self::Ssh,
            Stage::Ready => Self::Ready,
            Stage::Ended => Self::Ended,
        }
    }
}

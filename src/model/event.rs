//! Events of a cluster, as the event log holds them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Stage;

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Event {
    pub(crate) event: EventKind,
    /// A node's name, another machine's MAC address, or empty for the whole cluster.
    pub(crate) node: String,
    /// Details in words.
    #[serde(default)]
    pub(crate) note: String,
    /// The event's number in the cluster, counted from 1; 0 in logs from before events had numbers.
    #[serde(default)]
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) time: f64,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The guest rebooted.
    Rebooted,
    /// The guest is paused.
    Paused,
    Resumed,
    /// A snapshot was taken.
    Snapshot,
    /// The cluster went back to a snapshot.
    Restored,
    /// The cluster was suspended.
    Suspended,
    /// The connection to QEMU was lost.
    Lost,
    Regained,
    /// The keeper will restart a node that ended by itself.
    Restarting,
    /// The keeper will not restart it any more.
    GivenUp,
    /// Rules were restored, or block the cluster.
    Firewall,
    /// The keeper restored a bridge, one of its ports or its route.
    Link,
    /// A node that became ready cannot be used as it should.
    Fault,
    /// A fault is over.
    FaultOver,
    /// The resolvers for other names have changed.
    Resolvers,
    /// Leases cannot be saved.
    Unsaved,
    Saved,
    /// A machine asked by DHCP for an address that is not its own.
    Refused,
    /// A machine found its address in use.
    Declined,
    /// Another machine uses a node's address.
    Conflict,
    /// Two machines send the same client identifier.
    Shared,
    /// No address is free.
    Full,
    /// A kind from a newer kvmc.
    #[serde(other)]
    Other,
}

impl EventKind {
    /// Its name in the log and in JSON.
    pub(crate) fn name(self) -> String {
        let name = serde_json::to_value(self).unwrap_or_default();
        name.as_str().unwrap_or_default().to_owned()
    }
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

//! How the host routes and bridges packets.

use serde::{Deserialize, Serialize};

/// The settings that decide which rules of the host a guest's packets pass through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNetwork {
    /// The link of the IPv4 default route.
    pub uplink: Option<String>,
    /// The link of the IPv6 default route, where there is one.
    pub uplink6: Option<String>,
    /// br_netfilter is on: packets between ports of a bridge pass through the rules for forwarded ones.
    pub bridged: bool,
    /// The same for IPv6.
    pub bridged6: bool,
}

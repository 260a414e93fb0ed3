//! What a single node has of its own.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The settings of a single node.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeSpec {
    /// Its address in the main network; `None` for the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Ipv4Addr>,
}

//! Packet filtering and NAT: our own nft table, and the accept rules beside it in the chains of other programs.
//!
//! An accept in one table does not undo a drop in another, so our own table is not enough beside Docker, ufw or firewalld.
//!
//! | module | holds |
//! |---|---|
//! | `table`, `forward`, `host_port` | our own table as a model, its text, and one atomic apply |
//! | `spoof` | what guests may send, as a table for the bridge |
//! | `packet`, `specimens` | one specimen of each kind of packet that a cluster needs |
//! | `chains`, `walk`, `dropped` | rules of one table, and the packets that they drop |
//! | `iptables`, `nftables` | the texts of these tools, parsed into chains |
//! | `rulesets`, `iptables_plan`, `nftables_plan`, `plan` | all rules of the host, and the accept rules that they require |
//! | `backend`, `accept`, `firewalld` | the tools that add and remove rules |
//! | `leftovers` | rules of clusters without a record, found by their comment |
//! | `forwarders` | other programs that need the host's forwarding |
//! | `changes`, `generation` | watches nftables for changes by other programs; tells whether there was one |

mod accept;
mod backend;
mod chains;
mod changes;
mod dropped;
mod family;
mod firewalld;
mod forward;
mod forwarders;
mod generation;
mod host_network;
mod host_port;
mod iptables;
mod iptables_plan;
mod leftovers;
mod nftables;
mod nftables_plan;
mod packet;
mod plan;
mod rulesets;
mod specimens;
mod spoof;
mod table;
mod walk;

pub use crate::Protocol;
pub use accept::{Accept, withdraw};
pub use backend::{Backend, legacy_digest};
pub use changes::Changes;
pub use family::Family;
pub use firewalld::zone_of;
pub use forward::Forward;
pub use forwarders::{OwnNames, forwarders};
pub use generation::generation;
pub use host_network::HostNetwork;
pub use host_port::{HostPort, HostPortError};
pub use leftovers::{leftovers, remove_leftovers};
pub use plan::{Obstacle, Plan};
pub use rulesets::Rulesets;
pub use spoof::{Port, has_bridge_family};
pub use table::Table;

/// The comment on every rule of a cluster, by which kvmc finds the rules again.
#[must_use]
pub fn mark(cluster: &str) -> String {
    format!("kvmc {cluster}")
}

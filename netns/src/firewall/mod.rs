//! Packet filtering and NAT: our own nft table, and what others' rule sets need so that it counts.
//!
//! An accept in one table undoes no drop in another, so an own table is not enough beside Docker, ufw
//! or firewalld.
//!
//! | module | holds |
//! |---|---|
//! | `table` | our own table: a model, its text, and one atomic apply |
//! | `forward` | ports of the host that lead to a guest |
//! | `host_port` | what guests may reach on the host beside DHCP, DNS and ICMP |
//! | `packet`, `chains` | specimens of packets, and what becomes of them in rules of others: pure |
//! | `nftables`, `iptables` | rules of others, read into chains |
//! | `others` | from all rules to what is to be added and what is in the way: pure |
//! | `accept`, `firewalld` | what is added, made and taken away |
//! | `leftovers` | what nobody remembers, found by its comment |
//! | `forwarders` | who else lives by the host's forwarding |
//! | `changes` | who changes rules, hears of it |

mod accept;
mod chains;
mod changes;
mod firewalld;
mod forward;
mod forwarders;
mod host_port;
mod iptables;
mod leftovers;
mod nftables;
mod others;
mod packet;
mod table;

pub use accept::{Accept, withdraw};
pub use changes::Changes;
pub use firewalld::zone_of;
pub use forward::Forward;
pub use forwarders::{Own, forwarders};
pub use host_port::{HostPort, HostPortError, Protocol};
pub use iptables::{Backend, Family, legacy_digest};
pub use leftovers::remove_leftovers;
pub use others::{Obstacle, Plan, Rulesets, Site};
pub use table::Table;

/// The comment by which a cluster's rules are found again among those of others.
#[must_use]
pub fn mark(cluster: &str) -> String {
    format!("kvmc {cluster}")
}

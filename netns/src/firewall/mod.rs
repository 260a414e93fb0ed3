//! Packet filtering and NAT: our own nft table, and what others' rule sets need so that it counts.
//!
//! An accept in one table undoes no drop in another, so an own table is not enough beside Docker, ufw
//! or firewalld.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | our own table: a model, its text, and one atomic apply |
//! | [`forward`] | ports of the host that lead to a guest |
//! | [`host_port`] | what guests may reach on the host beside DHCP, DNS and ICMP |

mod forward;
mod host_port;
mod table;

pub use forward::Forward;
pub use host_port::{HostPort, HostPortError, Protocol};
pub use table::Table;

/// The comment by which a cluster's rules are found again among those of others.
#[must_use]
pub fn mark(cluster: &str) -> String {
    format!("kvmc {cluster}")
}

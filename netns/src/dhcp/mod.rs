//! A DHCP server: one pure function from a table and a packet to a reply, and the loop that feeds it. dhcproto reads the
//! requests and writes the replies.
//!
//! | module | holds |
//! |---|---|
//! | `options`, `request` | a packet's options put together, checked, and read by dhcproto |
//! | `message`, `reply` | a reply in dhcproto's types, its bytes, and where it goes |
//! | `config` | the parameters for clients, and reservations |
//! | `table` | which client has which address |
//! | `lease`, `pool`, `quarantine`, `probes` | leases, free addresses, those in use by others, those probed by ARP |
//! | `handle`, `lease_query` | the reply to a packet, RFC 2131 and RFC 4388 |
//! | `notice`, `conflict`, `identifiers` | what happened to a client, and conflicts of addresses and identifiers |
//! | `lease_file` | the leases on disk |
//! | `frame`, `sockets`, `service`, `server` | frames, sockets, and the loop over them |
//!
//! Guests send the packets, and nothing in them is trusted. No packet makes the server keep more than one entry for each
//! address of the subnet.

mod clock;
mod config;
mod conflict;
mod frame;
mod handle;
mod identifiers;
#[cfg(test)]
#[path = "../../tests/judge/dhcp.rs"]
mod judge;
mod lease;
mod lease_file;
mod lease_query;
mod message;
mod notice;
mod options;
mod pool;
mod probes;
mod quarantine;
mod reply;
mod request;
mod server;
mod service;
mod sockets;
mod table;

pub use config::{Config, Reservation};
pub use conflict::observe_arp;
pub use handle::{Outcome, handle};
pub use lease::Lease;
pub use lease_file::{LeaseFile, LeaseFileError};
pub use notice::{Notice, NoticeKind};
pub use reply::{Destination, Reply};
pub use server::Server;
pub use service::Event;
pub use sockets::ServerError;
pub use table::Table;

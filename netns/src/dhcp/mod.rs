//! A DHCP server: one pure function from a table and a packet to a reply, and the loop that feeds it. dhcproto reads the
//! requests and writes the replies.
//!
//! | module | holds |
//! |---|---|
//! | `options`, `request` | joins and checks a packet's options, and reads them by dhcproto |
//! | `message`, `reply` | a reply in dhcproto's types, its bytes, and its destination |
//! | `config` | the parameters for clients, and reservations |
//! | `table` | which client has which address |
//! | `lease`, `pool`, `quarantine`, `probes` | leases, free addresses, those in use by others, those probed by ARP |
//! | `handle`, `lease_query` | the reply to a packet, RFC 2131 and RFC 4388 |
//! | `notice`, `conflict`, `identifiers` | notices about clients, and conflicts of addresses and identifiers |
//! | `lease_file` | the leases on disk |
//! | `frame`, `sockets`, `service`, `server` | frames, sockets, and the loop over them |
//!
//! Guests send the packets, so the server trusts nothing in them. No packet makes it keep more than one entry for each
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

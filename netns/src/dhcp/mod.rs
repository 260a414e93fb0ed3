//! A DHCP server: one pure function from a table and bytes to an answer, and the loop that feeds it.
//!
//! | module | holds |
//! |---|---|
//! | `wire` | messages and options as bytes |
//! | `config` | what every answer says, and in which order |
//! | `table` | who has which address; `vacancy`: which ones nobody seems to use |
//! | `handle` | RFC 2131: a request's answer; `query`: RFC 4388 |
//! | `heard` | who is heard to use an address |
//! | `lease_file` | the leases on disk |
//! | `server`, `service` | sockets, and the loop over them |
//!
//! Guests send these bytes: nothing of them is trusted, and whatever they send, no more is kept than the range has
//! addresses.

mod config;
mod frame;
mod handle;
mod heard;
mod identifiers;
mod lease_file;
mod query;
mod server;
mod service;
mod table;
mod vacancy;
mod wire;

pub use config::{Config, Reservation};
pub use handle::{Destination, Notice, NoticeKind, Outcome, Reply, handle};
pub use heard::heard;
pub use lease_file::{LeaseFile, LeaseFileError};
pub use server::{Server, ServerError};
pub use service::Event;
pub use table::{Lease, Table};

/// Seconds after the epoch.
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

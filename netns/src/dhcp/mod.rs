//! A DHCP server: one pure function from a table and bytes to an answer, and the loop that feeds it.
//!
//! Guests send these bytes, so everything is checked before the decoder touches it.

mod handle;
mod lease_file;
mod server;
mod table;

pub use handle::{Destination, Notice, NoticeKind, Outcome, Reply, handle};
pub use lease_file::{LeaseFile, LeaseFileError};
pub use server::{Server, ServerError};
pub use table::{Config, Lease, Reservation, Table};

//! Images from publishers: fetched once however many ask, compared with the publisher's checksum, and in
//! the store only after that.

mod catalogue;
mod checksum;
mod fetch;
pub(crate) mod form;
mod import;
mod pull;
mod signature;

pub use catalogue::{Catalogue, Entry, Source, Verification};
pub use checksum::{Algorithm, Checksum};
pub(crate) use form::judge_qcow2;
pub use import::{import, imported};
pub use pull::{Pull, check_name};

/// What is heard of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A line.
    Say(String),
    /// Bytes of the file that are there, of how many.
    Bytes {
        /// Those that are there.
        done: u64,
        /// All, where the server says it.
        total: Option<u64>,
    },
}

//! Images from publishers. kvmc downloads each once, and stores it after a comparison with its publisher's checksum.

mod catalogue;
mod checksum;
mod disk;
mod disk_format;
mod event;
mod fetch;
#[cfg(test)]
mod format_tests;
mod head;
mod http;
mod import;
mod lock;
mod name;
mod part;
mod pull;
mod signature;
mod subject;
mod tarball;
mod unusable;

pub use catalogue::{Catalogue, Entry, Source, Verification};
pub use checksum::{Algorithm, Checksum};
pub(crate) use disk_format::{judge_qcow2, most_unpacked};
pub use event::Event;
pub use import::{import, imported};
pub use name::check_name;
pub use pull::Pull;
pub(crate) use subject::Subject;

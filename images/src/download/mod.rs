//! Images from publishers: each is downloaded once, and stored after it was compared with its publisher's checksum.

mod catalogue;
mod checksum;
mod disk;
mod disk_format;
mod event;
mod fetch;
mod http;
mod import;
mod lock;
mod name;
mod part;
mod pull;
mod signature;

pub use catalogue::{Catalogue, Entry, Source, Verification};
pub use checksum::{Algorithm, Checksum};
pub(crate) use disk_format::judge_qcow2;
pub use event::Event;
pub use import::{import, imported};
pub use name::check_name;
pub use pull::Pull;

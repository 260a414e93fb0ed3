//! The memory of running nodes as snapshots keep it: the pages that differ from the frozen machine, the migration
//! stream that gives them back to a fresh QEMU, and the manifest that describes a snapshot.
//!
//! Nothing here talks to QEMU or knows a cluster. The order of the steps, for each node:
//!
//! 1. [`Ram::find`] and [`Ram::reserve`], while the guest runs.
//! 2. [`Copy::take`], while it is stopped.
//! 3. [`Delta::drop_equal`] and [`compose`], when it runs again.

mod archive;
mod compose;
mod copy;
mod manifest;
#[cfg(test)]
mod qemu_tests;
mod ram;
mod stored;
mod stream;

pub(crate) use archive::{Contents, Source, export, import, inspect};
pub(crate) use compose::{Machine, compose};
pub(crate) use copy::{Copy, Delta};
pub(crate) use manifest::{FORMAT, Fits, LONGEST_NOTE, Manifest, Name, NodePart};
pub(crate) use ram::Ram;
#[cfg(test)]
pub(crate) use stored::write;
pub(crate) use stored::{Stored, feed, pack, verify};
#[cfg(test)]
pub(crate) use stream::parse;

/// The size of a guest's page in a migration stream, in bytes. A host's page can be larger.
const PAGE: usize = 4096;
/// The same as the type of addresses.
const PAGE_64: u64 = 4096;

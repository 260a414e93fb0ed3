//! Snapshots of the whole cluster at one instant, and the way back to them.
//!
//! A snapshot is a folder with the memory and devices of each node. Its disks are the images that the nodes had: saving
//! gives each disk a new writable image above them. The record names the images of each disk, and is written before QEMU
//! begins to use new ones. So whatever ends early, each disk is what the record says: an empty new image hides nothing.

mod diff;
mod export;
mod fits;
mod folder;
mod fork;
mod import;
mod list;
mod memory;
mod merge;
mod pause;
mod restore;
mod rollback;
mod room;
mod save;
mod sources;
mod standby;
mod streams;
mod suspend;
mod sweep;
mod take_over;
mod undo;

pub(super) use self::folder::{having, needs, snapshot_names};
pub(super) use self::restore::Restore;
pub(crate) use self::save::SaveRequest;
pub(crate) use self::standby::Standing;
pub(crate) use self::undo::Undone;

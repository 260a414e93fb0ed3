//! Frozen machines. kvmc boots one machine for each shape, stops it when it is idle and keeps it. Every node of that
//! shape wakes from it, with its memory mapped privately, instead of booting. A cloud image is prepared first: its
//! first start is done, and kvmc's agent is added.
//!
//! ```text
//! <state>/warm/
//!   <shape>.lock                flock: one freeze of a shape at a time
//!   .freeze-<shape>/            an unfinished freeze; removed when its maker has ended
//!   <shape>-<n>/                read-only
//!     ram                       guest memory, with holes where it is zero
//!     state                     device state, a QEMU migration stream without the memory
//!     disk.qcow2                the disk at that moment, an overlay on the image
//!     frozen.json               its shape, and digests
//! ```

mod adopt;
mod freeze;
mod ids;
mod loaded;
mod memory;
mod prepare;
mod shape;
mod store;
mod wake;

pub(crate) use freeze::freeze;
pub(crate) use ids::Ids;
pub(crate) use loaded::LoadedMachines;
pub(crate) use memory::Memory;
pub(crate) use prepare::prepare;
pub(crate) use shape::{Hardware, Shape};
pub(crate) use store::{Frozen, Store};
pub(crate) use wake::wake;

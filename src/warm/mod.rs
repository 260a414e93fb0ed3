//! Frozen machines: one is booted for each shape, stopped when it is quiet, and kept; every node of
//! that shape wakes from it, its memory mapped privately, instead of booting. A cloud image is prepared
//! for that before: its first start done, the agent added.
//!
//! ```text
//! <state>/warm/
//!   <shape>.lock                flock: one freeze of a shape at a time
//!   .freeze-<shape>/            a freeze under way; removed when its maker is gone
//!   <shape>-<n>/                read-only
//!     ram                       guest memory, with holes where it is zero
//!     state                     device state, a QEMU migration stream without the memory
//!     disk.qcow2                the disk at that moment, an overlay on the template
//!     frozen.json               what it depends on, and digests
//! ```

mod at_hand;
mod freeze;
mod memory;
mod prepare;
mod shape;
mod store;
mod wake;

pub(crate) use at_hand::AtHand;
pub(crate) use freeze::freeze;
pub(crate) use memory::Memory;
pub(crate) use prepare::prepare;
pub(crate) use shape::Shape;
pub(crate) use store::{Frozen, Store};
pub(crate) use wake::wake;

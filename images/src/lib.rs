//! Templates: built from packages, kept by their content, cloned copy-on-write.
//!
//! ```text
//! <root>/images/
//!   lock                        flock: one build at a time
//!   .build-…                    a build under way; removed when its builder is gone
//!   <digest>/                   named by what it contains
//!     disk.qcow2 vmlinuz initrd   0444; only the disk where firmware boots it
//!     image.json                what it is, where it is from, digests
//!     .looks.json               what its files were when all of them were last read
//!   pulls/                      downloads under way, and what is left of those that were cut
//!   tags/<name>@<architecture>  the digest that a name stands for
//! ```

mod architecture;
mod archive;
mod build;
mod distribution;
pub mod download;
mod error;
mod exec;
mod failpoint;
mod foreign;
mod image;
mod initrd;
mod intact;
mod layer;
mod mmdebstrap;
pub mod prepare;
pub mod qcow2;
mod recipe;
mod second_stage;
pub mod seed;
mod store;
mod tags;
mod tree;

pub use architecture::{Architecture, Platform, Probe, Qemu, Uefi, kernel_command_line};
pub use archive::{Unpacked, is_archive};
pub use error::ImageError;
pub use exec::heed;
#[cfg(feature = "failpoints")]
pub use failpoint::FAILPOINTS;
pub use foreign::runs_programs_of;
pub use image::{Boot, Guest, Image, Origin};
pub use intact::Looks;
pub use layer::Commit;
pub use recipe::Recipe;
pub use store::{Held, Store};

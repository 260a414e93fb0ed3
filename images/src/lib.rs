//! Images of guests: built from packages, downloaded or imported, stored by the digest of their content, and cloned
//! copy-on-write. And the guest's side: the files that kvmc puts into an image, and the messages of its agent.
//!
//! ```text
//! <root>/images/
//!   lock                        flock: one build at a time
//!   .build-…                    a build under way; removed after its kvmc has ended
//!   <digest>/                   an image
//!     disk.qcow2 vmlinuz initrd   0444; only the disk where firmware boots it
//!     image.json                what it is, where it is from, digests
//!     .looks.json               fingerprints of its files when all of them were last read
//!   pulls/                      downloads under way, and parts of those that were cut
//!   tags/<name>@<architecture>  the digest that a name stands for
//! ```

pub mod agent;
mod architecture;
mod archive;
mod build;
mod digest;
mod distribution;
pub mod download;
mod error;
mod exec;
mod failpoint;
mod file_system;
mod foreign;
mod guest_files;
mod image;
mod initrd;
mod intact;
mod kernel;
mod keyring;
mod layer;
mod mmdebstrap;
mod packages;
pub mod prepare;
pub mod qcow2;
mod recipe;
mod second_stage;
pub mod seed;
mod store;
mod tags;
mod tree;

pub use architecture::{Architecture, Platform, Probe, Qemu, Uefi, kernel_command_line};
pub use archive::{ImportedArchive, is_archive};
pub use error::ImageError;
pub use exec::heed;
#[cfg(feature = "failpoints")]
pub use failpoint::FAILPOINTS;
pub use foreign::runs_programs_of;
pub use image::{Boot, Guest, Image, Origin};
pub use intact::FileChecks;
pub use layer::Commit;
pub use recipe::Recipe;
pub use store::{ImageHold, Store};

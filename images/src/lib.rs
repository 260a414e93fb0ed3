//! Images of guests. This crate builds, downloads and imports them, stores them by the digest of their content, and clones
//! them copy-on-write. It also has the files that kvmc puts into an image, and the messages of the guest's agent.
//!
//! ```text
//! <root>/images/
//!   lock                        flock: one build at a time
//!   .build-…                    a build under way; removed after the end of its kvmc
//!   <digest>/                   an image
//!     disk.qcow2 vmlinuz initrd   0444; only the disk if firmware boots the image
//!     image.json                description, origin, digests
//!     .looks.json               fingerprints of its files at their last full read
//!   pulls/                      downloads under way, and parts of interrupted ones
//!   tags/<name>@<architecture>  the digest that a name stands for
//! ```

pub mod agent;
mod architecture;
mod archive;
mod build;
mod changes;
mod confine;
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
mod shell;
mod size;
mod store;
mod tags;
mod tree;

pub use architecture::{Architecture, Platform, Probe, Qemu, Uefi, kernel_command_line};
pub use archive::{ImportedArchive, is_archive};
pub use changes::{ChangeKind, DiskChanges, FileChange, Files, changes};
pub use error::ImageError;
pub use exec::heed;
#[cfg(feature = "failpoints")]
pub use failpoint::FAILPOINTS;
pub use foreign::runs_programs_of;
pub use image::{Boot, Guest, Image, Origin};
pub use intact::FileChecks;
pub use layer::{Commit, merge_first};
pub use recipe::Recipe;
pub use size::approximate;
pub use store::{ImageHold, Store, allocated};

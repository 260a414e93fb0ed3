//! Templates: built from packages, kept by their content, cloned copy-on-write.
//!
//! ```text
//! <root>/images/
//!   lock                        flock: one build at a time
//!   .build-…                    a build under way; removed when its builder is gone
//!   <digest>/                   named by what it contains
//!     disk.qcow2 vmlinuz initrd   0444
//!     image.json                recipe, digests, sizes
//! ```

mod architecture;
mod build;
mod error;
mod exec;
mod initrd;
pub mod qcow2;
mod recipe;
mod store;
mod tree;

pub use architecture::{Architecture, Platform, Probe, Qemu, Uefi, kernel_command_line};
pub use error::ImageError;
pub use recipe::Recipe;
pub use store::{Image, Store};

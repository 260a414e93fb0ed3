//! The store: a folder of images, each under the digest of its content.

mod admit;
mod build;
mod folder;
mod intact;
mod names;
mod read;
mod removal;

pub use folder::{Store, allocated};
pub use removal::ImageHold;

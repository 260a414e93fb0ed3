//! Why a file system cannot be read.

use crate::error::ImageError;

/// Part of a folder or of a file system that cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    Image(ImageError),
    Unread(&'static str),
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

pub(super) const DAMAGED: Fault = Fault::Unread("has a file system that makes no sense");

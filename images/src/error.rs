//! What can go wrong with images.

use std::path::PathBuf;

use thiserror::Error;

/// An image that cannot be had.
#[derive(Debug, Error)]
pub enum ImageError {
    /// A word of the recipe is not what it should be.
    #[error("{what}")]
    Recipe {
        /// Which, and what would be right.
        what: String,
    },
    /// The system refused something.
    #[error("failed to {what}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Program {
        /// The program with its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// What the packages gave is not what a template needs.
    #[error("the template lacks {what}")]
    Incomplete {
        /// The file.
        what: String,
    },
    /// A file is not the one that was built.
    #[error("{} was changed: expected digest {expected}, found {found}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The digest it was stored with.
        expected: String,
        /// The digest it has.
        found: String,
    },
    /// A file that is no image, or one that must not be used.
    #[error("{} {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl ImageError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// fs-err's errors name the operation and the path themselves.
impl From<std::io::Error> for ImageError {
    fn from(source: std::io::Error) -> Self {
        Self::Io {
            what: "work on the image".to_owned(),
            source,
        }
    }
}

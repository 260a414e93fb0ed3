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
    /// It was told to stop, and nothing is left of it.
    #[error("interrupted")]
    Interrupted,
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
    /// The packages of a template could not be installed.
    #[error(
        "mmdebstrap could not install the packages ({status}): {stderr}; see whether this machine reaches their mirror (--mirror names another), and whether suite and packages are there by these names (--suite, --package)"
    )]
    Packages {
        /// How it ended.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// The keys that a publisher signs its packages with cannot be had.
    #[error(
        "{keyring} is not there, and mmdebstrap could not take it out of the package {package} of {suite} ({status}): {stderr}; install {package} (`apt install {package}`), or its .deb file"
    )]
    Keys {
        /// Where the keys were looked for.
        keyring: &'static str,
        /// A package that has them.
        package: &'static str,
        /// The suite of that package.
        suite: &'static str,
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
    /// A checksum or a list of them is not what it should be.
    #[error("{what}")]
    Checksum {
        /// Which, and what would be right.
        what: String,
    },
    /// An address that cannot be fetched from.
    #[error("{url} {why}")]
    Address {
        /// The address.
        url: String,
        /// Why.
        why: String,
    },
    /// A server's answer that is no success.
    #[error("{url} cannot be had: the server says {status} {reason}{}", advice(*status))]
    Http {
        /// The address.
        url: String,
        /// RFC 9110's status code.
        status: u16,
        /// What it means.
        reason: String,
    },
    /// A transfer that ended before its end.
    #[error("{url} was cut at {} MiB: {why}; run it again to go on from there", at >> 20)]
    Cut {
        /// The address.
        url: String,
        /// Bytes that are there.
        at: u64,
        /// Why.
        why: String,
    },
    /// What came is not what its publisher made.
    #[error(
        "{url} is not what its publisher made: expected {expected}, got {found}; nothing of it is kept"
    )]
    Mismatch {
        /// The address.
        url: String,
        /// By the publisher.
        expected: String,
        /// Of what came.
        found: String,
    },
    /// It does not fit.
    #[error("{} MiB are needed in {}, and {} are free; free some, or set KVMC_STATE_DIR to a larger disk", needed.div_ceil(1 << 20), at.display(), free >> 20)]
    Room {
        /// The folder.
        at: PathBuf,
        /// In bytes.
        needed: u64,
        /// In bytes.
        free: u64,
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

/// What to do about a status.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "; it wants a login, or a proxy forbids it",
        404 | 410 => {
            "; the publisher may have moved it: look at the address, or put the new one into images.toml"
        }
        407 => "; the proxy wants a login: write it into HTTPS_PROXY",
        429 | 500..=599 => "; try again later",
        _ => "",
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

//! Errors of images.

use std::path::PathBuf;

use thiserror::Error;

use crate::size::approximate;

/// An image cannot be made, read or used.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "fields are named by what they hold")]
pub enum ImageError {
    /// A user's value is not valid.
    #[error("{what}")]
    Recipe { what: String },
    /// A system call failed.
    #[error("failed to {what}")]
    Io {
        /// The operation and its file.
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The user interrupted. No partial result stays.
    #[error("interrupted")]
    Interrupted,
    /// A program failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Program {
        command: String,
        status: String,
        stderr: String,
    },
    /// A program reached a limit while it read an image, or crashed over it.
    #[error("{file} is too much for {program}: {program} {passed}")]
    TooMuch {
        /// The image, as the user gave it where a user gave it.
        file: String,
        program: &'static str,
        /// What the program did, with the limit.
        passed: String,
    },
    /// The packages of a template could not be installed.
    #[error(
        "mmdebstrap could not install the packages ({status}): {stderr}; check that this host reaches the mirror (--mirror names another one), and that the suite and the packages exist (--suite, --package)"
    )]
    Packages { status: String, stderr: String },
    /// The keys that a publisher signs its packages with are missing.
    #[error(
        "this host has no {keyring}, and mmdebstrap could not fetch it from the package {package} of {suite} ({status}): {stderr}; install {package} (`apt install {package}`), or its .deb file"
    )]
    Keys {
        /// The expected file of the keys.
        keyring: &'static str,
        /// A package that has them.
        package: &'static str,
        /// The suite of that package.
        suite: &'static str,
        status: String,
        stderr: String,
    },
    /// The packages lack a part that a template needs.
    #[error("the template lacks {what}")]
    Incomplete { what: String },
    /// A file has changed since it was stored.
    #[error("{} was changed: expected digest {expected}, found {found}", path.display())]
    Changed {
        path: PathBuf,
        expected: String,
        found: String,
    },
    /// A checksum or a list of checksums is not valid.
    #[error("{what}")]
    Checksum { what: String },
    /// An address cannot be downloaded from.
    #[error("{url} {why}")]
    Address { url: String, why: String },
    /// A server answered with an error.
    #[error("{url} cannot be downloaded: the server answered {status} {reason}{}", advice(*status))]
    Http {
        url: String,
        /// RFC 9110's status code.
        status: u16,
        reason: String,
    },
    /// A transfer ended early.
    #[error("{url} was cut at {}: {why}; run it again to resume there", approximate(*at))]
    Cut { url: String, at: u64, why: String },
    /// A download does not have its publisher's checksum.
    #[error(
        "{url} is not what its publisher made: expected {expected}, got {found}; kvmc did not keep it"
    )]
    Mismatch {
        url: String,
        expected: String,
        found: String,
    },
    /// The disk has too little room.
    #[error("{} needed in {}, {} free; free some, or set KVMC_STATE_DIR to a folder on a larger disk", approximate(*needed), at.display(), approximate(*free))]
    Room { at: PathBuf, needed: u64, free: u64 },
    /// A file is not a usable image, and something makes one of it.
    #[error("{file} {why}")]
    Unusable {
        /// The file or address as the user gave it.
        file: String,
        why: String,
        /// A command, or advice.
        cure: String,
    },
    /// A file is not an image, or must not be used.
    #[error("{} {why}", path.display())]
    Unfit { path: PathBuf, why: String },
}

impl ImageError {
    /// What makes a usable image of an unusable one.
    #[must_use]
    pub fn cure(&self) -> Option<&str> {
        match self {
            Self::Unusable { cure, .. } => Some(cure),
            _ => None,
        }
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// A hint for an HTTP status.
fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "; it needs a login, or a proxy forbids it",
        404 | 410 => {
            "; the publisher may have moved it: look at the address, or put the new one into images.toml"
        }
        407 => "; the proxy needs a login: put it into HTTPS_PROXY",
        429 | 500..=599 => "; try again later",
        _ => "",
    }
}

/// fs-err's errors name the operation and the path.
impl From<std::io::Error> for ImageError {
    fn from(source: std::io::Error) -> Self {
        Self::Io {
            what: "work on the image".to_owned(),
            source,
        }
    }
}

//! What an image's file is called in messages. The user never sees the copy that kvmc works on.

use std::path::Path;

use super::name::file_name;
use crate::error::ImageError;
use crate::shell::quote;

/// Where an image comes from, in the user's words.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    File(&'a Path),
    Address(&'a str),
}

/// A command or advice that makes a usable image, for a file with a name.
pub(crate) type Cure = Box<dyn Fn(&str) -> String>;

impl Subject<'_> {
    /// The file or address as it was given.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Address(url) => (*url).to_owned(),
        }
    }

    /// An error about it, without a cure.
    pub(crate) fn unfit(&self, why: impl Into<String>) -> ImageError {
        match self {
            Self::File(path) => ImageError::Unfit {
                path: (*path).to_owned(),
                why: why.into(),
            },
            Self::Address(url) => ImageError::Address {
                url: (*url).to_owned(),
                why: why.into(),
            },
        }
    }

    /// An error with what makes a usable image of it.
    pub(crate) fn unusable(&self, why: impl Into<String>, cure: &Cure) -> ImageError {
        let cure = match self {
            Self::File(path) => cure(&path.display().to_string()),
            Self::Address(url) => {
                let text = cure(file_name(url));
                match text.contains('`') {
                    true => format!("download {}; {text}", quote(file_name(url))),
                    false => text,
                }
            }
        };
        ImageError::Unusable {
            file: self.shown(),
            why: why.into(),
            cure,
        }
    }

    /// Replaces the name of kvmc's own copy in an error, which no user knows.
    pub(crate) fn instead_of(&self, copy: &Path, error: ImageError) -> ImageError {
        let known = |text: &str| text.replace(&copy.display().to_string(), &self.shown());
        match error {
            ImageError::Unfit { why, .. } => self.unfit(known(&why)),
            ImageError::Io { what, source } => ImageError::Io {
                what: known(&what),
                source,
            },
            ImageError::Program {
                command,
                status,
                stderr,
            } => ImageError::Program {
                command: known(&command),
                status,
                stderr: known(&stderr),
            },
            ImageError::TooMuch {
                file,
                program,
                passed,
            } => ImageError::TooMuch {
                file: known(&file),
                program,
                passed,
            },
            other => other,
        }
    }
}

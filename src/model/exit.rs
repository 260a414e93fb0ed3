//! The outcomes of verbs, with their exit codes.

use std::process::ExitCode;

/// The kinds of outcomes. README lists their exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// Wrong usage: a flag, a value or a setting.
    Usage = 2,
    /// Some nodes did not reach the requested state.
    SomeNodes = 3,
    /// There is no such cluster or node.
    NothingThere = 4,
    /// The exit code that shells use for SIGINT.
    Interrupted = 130,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// There is no such cluster or node.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NothingThere(pub(crate) String);

/// The command line has a mistake.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A verb was interrupted by a signal. The text says what it left.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {0}")]
pub(crate) struct Interrupted(pub(crate) String);

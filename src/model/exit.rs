//! How a verb ended, as its exit code says it.

use std::process::ExitCode;

/// The kinds of ends, with their exit codes. They stand in README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// Wrong usage: a flag, a value, a setting.
    Usage = 2,
    /// Some nodes are not what they were to be; the others are.
    SomeNodes = 3,
    /// There is no such cluster or node.
    NothingThere = 4,
    /// As shells have it for SIGINT.
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

/// The command line is at fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A verb was told to stop, and did; what there is now.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {0}")]
pub(crate) struct Interrupted(pub(crate) String);

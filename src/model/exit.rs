//! The outcomes of verbs, with their exit codes.

use std::process::ExitCode;

/// The kinds of outcomes. README lists their exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    /// Wrong usage: a flag, a value or a setting.
    Usage,
    /// Some nodes did not reach the requested state.
    SomeNodes,
    /// There is no such cluster or node.
    NothingThere,
    /// The exit code that shells use for SIGINT.
    Interrupted,
    /// The exit code of a command on a node.
    Of(u8),
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::SomeNodes => 3,
            Self::NothingThere => 4,
            Self::Interrupted => 130,
            Self::Of(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// A plan has changes. That is no mistake, but scripts of other tools expect this code, and it is the same as
    /// [`Self::Usage`].
    pub(crate) const CHANGES: Self = Self::Usage;
}

/// A verb would remove nodes with their data, and nobody has agreed to that.
#[derive(Debug, thiserror::Error)]
#[error("this removes {} with all data on {}{}; --yes agrees to it", .nodes.join(", "), them(.nodes.len()), spoils(.snapshots, "; "))]
pub(crate) struct RemovesNodes {
    pub(crate) nodes: Vec<String>,
    /// The snapshots that have one of them.
    pub(crate) snapshots: Vec<String>,
}

/// What becomes of snapshots whose nodes are removed; empty for none.
pub(crate) fn spoils(snapshots: &[String], before: &str) -> String {
    match snapshots {
        [] => String::new(),
        [one] => format!("{before}the cluster cannot go back to snapshot {one} then"),
        all => format!(
            "{before}the cluster cannot go back to snapshots {} then",
            all.join(", ")
        ),
    }
}

const fn them(nodes: usize) -> &'static str {
    match nodes {
        1 => "its disk",
        _ => "their disks",
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

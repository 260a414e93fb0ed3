//! The source of a setting's value.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    /// The record of the existing cluster.
    Cluster,
    /// `kvmc.toml`, with the line.
    File {
        path: String,
        line: usize,
    },
    Environment(&'static str),
    /// The flag as it was typed.
    Flag(String),
    /// An argument of a verb as it was typed.
    Argument(String),
}

impl Source {
    /// Whether the user gave the value for this run.
    pub(crate) const fn is_asked(&self) -> bool {
        !matches!(self, Self::Default | Self::Cluster)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Cluster => f.write_str("the cluster as it was created"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Argument(text) => write!(f, "argument {}", text.escape_debug()),
        }
    }
}

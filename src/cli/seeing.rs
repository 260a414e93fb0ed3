//! Arguments of the verbs that only show things.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `ls`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LsFlags {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `status`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct StatusFlags {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also show how each node's memory is shared and how far its disk has grown
    #[arg(long)]
    pub(crate) wide: bool,
    /// Show it again and again until Ctrl-C [default interval: 2 s]
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(crate) watch: Option<u64>,
}

/// Arguments of `top`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TopFlags {
    /// Time between two looks
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub(crate) interval: u64,
}

/// Arguments of `events`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct EventsFlags {
    /// Show the nodes' state, then each event as it happens, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) since: Option<u64>,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorFlags {
    /// Install what is missing, remove remains of clusters and restore damaged records
    #[arg(long)]
    pub(crate) fix: bool,
    /// Mend it, or take it back, without a question at a terminal
    #[arg(long)]
    pub(crate) yes: bool,
    /// Take back what --fix has installed and registered on this host
    #[arg(long, conflicts_with = "fix")]
    pub(crate) undo: bool,
    /// Architecture of the guests: amd64 or arm64
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `support`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SupportFlags {
    /// File to write; it must not exist [default: kvmc-support.tar.gz]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `version`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct VersionFlags {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainFlags {
    /// Code of an error, such as port-in-use [default: list all]
    pub(crate) code: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `df`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DfFlags {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `timeline`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TimelineFlags {
    /// Print JSON
    #[arg(long, conflicts_with_all = ["svg", "html"])]
    pub(crate) json: bool,
    /// Write a picture instead of printing
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write a page for a browser instead of printing
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// A shell with completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

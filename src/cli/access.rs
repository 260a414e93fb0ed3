//! The arguments of the verbs that reach into nodes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecFlags {
    /// Nodes and groups [default: all nodes]
    #[arg(value_name = "NODE|GROUP")]
    pub(crate) targets: Vec<String>,
    /// Command, which each node's shell reads as one line, as with ssh
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Seconds that each node has; a node that takes longer counts as exit code 124
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: Option<u64>,
    /// Give the whole input to every node; without it only a single node gets input
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Print JSON: the exit code, stdout, stderr and seconds of each node
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `ip`.
#[derive(Debug, Args)]
pub(crate) struct IpFlags {
    /// Nodes and groups [default: all nodes]
    #[arg(value_name = "NODE|GROUP")]
    pub(crate) targets: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `cp`.
#[derive(Debug, Args)]
pub(crate) struct CpFlags {
    /// Sources and, last, the target: paths of this host, NODE:PATH or GROUP:PATH
    #[arg(required = true, num_args = 2.., value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// Keep times and modes
    #[arg(short = 'p', long)]
    pub(crate) preserve: bool,
    /// Accepted for those who are used to it; folders are always copied whole
    #[arg(short = 'r', long, hide = true)]
    pub(crate) recursive: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncFlags {
    /// Folder of this host
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Folder of nodes that gets what FOLDER holds; it is made if it is not there
    #[arg(value_name = "NODE|GROUP:PATH")]
    pub(crate) target: String,
    /// Go on with every change of FOLDER, also after restarts of nodes
    #[arg(short = 'w', long)]
    pub(crate) watch: bool,
    /// Remove on the nodes what FOLDER does not hold
    #[arg(long)]
    pub(crate) delete: bool,
    /// Leave out, and do not remove, what a line of a .gitignore would name; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Print what would be copied and removed
    #[arg(long, conflicts_with = "watch")]
    pub(crate) dry_run: bool,
    /// With --watch: seconds that a node that was lost has to come back
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,
    /// Print JSON: what was copied and removed on each node, and what failed
    #[arg(long, conflicts_with = "watch")]
    pub(crate) json: bool,
}

/// Arguments of `mount`.
#[derive(Debug, Args)]
pub(crate) struct MountFlags {
    /// Folder of a node; without a / in front it is below the home of the node's user
    #[arg(value_name = "NODE:PATH")]
    pub(crate) place: String,
    /// Empty folder of this host, which is made if it is not there
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Refuse writes
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `share`.
#[derive(Debug, Args)]
pub(crate) struct ShareFlags {
    /// Folder of this host
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Empty folder of nodes, which is made if it is not there
    #[arg(value_name = "NODE|GROUP:PATH")]
    pub(crate) place: String,
    /// Refuse writes
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `console`.
#[derive(Debug, Args)]
pub(crate) struct ConsoleFlags {
    /// Name of the node
    pub(crate) node: String,
    /// Print the end of what the console has shown, and leave
    #[arg(long)]
    pub(crate) history: bool,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogFlags {
    /// Nodes and groups [default: all nodes and the cluster itself]
    #[arg(value_name = "NODE|GROUP")]
    pub(crate) targets: Vec<String>,
    /// Go on with what comes, also after restarts of nodes and keeper
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Include the journals of running nodes, which ssh reads
    #[arg(long)]
    pub(crate) journal: bool,
    /// Leave out older lines: an age such as 10m or 2h, or a time as printed
    #[arg(long, value_name = "AGE|TIME")]
    pub(crate) since: Option<String>,
    /// Most lines of each node [default: all; with --follow 10]
    #[arg(short = 'n', long, value_name = "LINES")]
    pub(crate) lines: Option<usize>,
    /// Print escape sequences and control characters of guests as they are
    #[arg(long)]
    pub(crate) raw: bool,
    /// Print JSON, one object a line
    #[arg(long, conflicts_with = "raw")]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum SshConfigCommand {
    /// Add the Include line of the cluster to ~/.ssh/config
    Install,
    /// Remove the Include line of the cluster from ~/.ssh/config
    Remove,
}

//! The arguments of verbs that change a cluster node by node.

use std::path::PathBuf;

use clap::Args;

use super::flags::Flags;
use super::start::{PullFlags, StartFlags};

/// Which nodes a verb works on.
#[derive(Debug, Default, Args)]
pub(crate) struct NodeArgs {
    /// Names of nodes, roles or groups [default: the whole cluster]
    #[arg(value_name = "NODE|GROUP")]
    pub(crate) nodes: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(flatten)]
    pub(crate) start: StartFlags,
    #[command(flatten)]
    pub(crate) pull: PullFlags,
    /// File to write the plan to, which `up FILE` carries out
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Role and its number of nodes, such as workers=5; a prefix such as lbl or a group names its role too
    #[arg(required = true, value_name = "ROLE=N")]
    pub(crate) counts: Vec<String>,
    #[command(flatten)]
    pub(crate) start: StartFlags,
    /// Agree to the removal of nodes with their data
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names of nodes
    #[arg(required = true, value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// Seconds that a guest has to power off before it is forced
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// Accepted for scripts; `rm` names what it removes, and does not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// Seconds that a guest has to power off before it is forced
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// Start even if memory may not suffice
    #[arg(long)]
    pub(crate) overcommit: bool,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

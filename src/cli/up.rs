//! Flags of `up` and `stop`.

use std::path::PathBuf;

use clap::Args;

use super::{Flags, NodeArgs, PullFlags, StartFlags};

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Saved plan to carry out, from `plan --out`
    #[arg(value_name = "PLAN")]
    pub(crate) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(flatten)]
    pub(crate) start: StartFlags,
    #[command(flatten)]
    pub(crate) pull: PullFlags,
    /// Print the steps without carrying them out
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Agree to the removal of nodes with their data
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the outcome, or with --dry-run the plan, as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) nodes: NodeArgs,
    /// Seconds that a guest has to power off before it is forced; systemd gives each service 90
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// Save all nodes with their memory instead; the next start goes on from there
    #[arg(long, conflicts_with_all = ["nodes", "timeout"])]
    pub(crate) suspend: bool,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

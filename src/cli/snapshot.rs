//! Arguments of `snapshot`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::snapshot::Name;

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save all nodes at one instant: memory, devices and disks; they go on
    Save {
        /// Name of the snapshot [default: s1, s2, …]
        name: Option<Name>,
        /// Words about it, which `ls` shows
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        note: String,
        /// Then remove the oldest snapshots with automatic names, until this many are left
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
        keep: Option<u16>,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// List snapshots
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove snapshots; the nodes do not notice
    Rm {
        /// Names of the snapshots
        #[arg(required = true, value_name = "NAME")]
        snapshots: Vec<Name>,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Show what the nodes have written to their disks since a snapshot: bytes, and files of ext2, ext3 and ext4
    Diff {
        /// Name of the snapshot
        #[arg(value_name = "NAME")]
        snapshot: Name,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a snapshot to one file, with the images and frozen machines that it needs
    Export {
        /// Name of the snapshot
        #[arg(value_name = "NAME")]
        snapshot: Name,
        /// New file; packed if its name ends in .zst
        file: PathBuf,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Add an exported snapshot to the cluster that it was exported from
    Import {
        /// File that export wrote
        file: PathBuf,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Bring all nodes back to a snapshot; what they have done since is lost
    Rollback {
        /// Name of the snapshot
        #[arg(value_name = "NAME")]
        snapshot: Name,
        /// What the guests' clocks show then: the present time, or the time of the snapshot
        #[arg(long, value_enum, value_name = "CLOCK", default_value_t)]
        clock: Clock,
        /// Print the outcome as JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

/// What a restored guest's clock shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clock {
    /// The host's time.
    #[default]
    Step,
    /// The time at which the guest was saved.
    Keep,
}

/// Arguments of `fork`.
#[derive(Debug, Args)]
pub(crate) struct ForkArgs {
    /// Name of the new cluster, which --cluster then takes
    pub(crate) name: String,
    /// Snapshot to begin from [default: the present state, saved for it]
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) from: Option<Name>,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `try`.
#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// Bring the cluster back also if the command succeeds
    #[arg(long, conflicts_with = "keep")]
    pub(crate) always: bool,
    /// Do not bring it back; keep the snapshot
    #[arg(long)]
    pub(crate) keep: bool,
    /// The command is one word for a shell, such as 'make deploy && make check'
    #[arg(long)]
    pub(crate) shell: bool,
    /// Command with its arguments, such as ansible-playbook -i inventory site.yml
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

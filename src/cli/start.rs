//! Options for downloading images and starting nodes.

use clap::Args;

use crate::image::PullOptions;

/// How images are downloaded.
#[derive(Debug, Default, Args)]
pub(crate) struct PullFlags {
    /// Check whether the publisher has newer images; existing clusters keep theirs
    #[arg(long)]
    pull: bool,
    /// Accept images without a checksum or signature
    #[arg(long)]
    insecure: bool,
}

impl PullFlags {
    pub(crate) fn asked(&self) -> PullOptions {
        PullOptions {
            refresh: self.pull,
            insecure: self.insecure,
        }
    }
}

/// Options for starting nodes.
#[derive(Debug, Default, Args)]
pub(crate) struct StartFlags {
    /// Seconds that each node has to become ready [default: 300, emulated 900]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Boot every node instead of waking it from a frozen machine
    #[arg(long)]
    pub(crate) cold: bool,
    /// Start even if memory may not suffice
    #[arg(long)]
    pub(crate) overcommit: bool,
}

//! Forwards from ports of the host to nodes, as far as the keeper serves them.

use std::fmt;

use anyhow::Result;

use super::bench::Workbench;
use crate::keeper::{Keeper, Request};
use crate::spec::Forward;

/// All forwards of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forwards {
    pub(crate) forwards: Vec<Forward>,
}

impl fmt::Display for Forwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.forwards.iter().map(ToString::to_string).collect();
        write!(f, "forward {}", texts.join(" "))
    }
}

impl Forwards {
    /// Has no undo of its own: the keeper and the nft table are undone, or `forward rm` restores the old forwards.
    pub(super) async fn make(&self, bench: Workbench<'_>) -> Result<()> {
        let keeper = Keeper::of(bench.host.dir, &bench.host.dir.name());
        keeper.ask(&Request::Forward).await
    }
}

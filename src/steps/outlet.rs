//! A fork's way out of its network namespace.

use std::fmt;

use anyhow::{Error, Result};

use super::Undo;
use super::bench::{Host, Workbench};
use crate::network::outlet;
use crate::state::ClusterRecord;

/// The link to the namespace outside, with its NAT there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outlet;

impl fmt::Display for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("link the fork's network namespace to the host's, with NAT")
    }
}

impl Outlet {
    pub(super) async fn make(
        self,
        record: &mut ClusterRecord,
        bench: Workbench<'_>,
        undo: &mut Undo,
    ) -> Result<()> {
        undo.push("the fork's way out", {
            let dir = bench.host.dir.clone();
            move || async move {
                let first = outlet::remove(&dir).await.into_iter().next();
                first.map_or(Ok(()), Err)
            }
        });
        outlet::make(record, bench.host.dir).await
    }

    pub(super) async fn remove(self, host: Host<'_>) -> Vec<Error> {
        outlet::remove(host.dir).await
    }
}

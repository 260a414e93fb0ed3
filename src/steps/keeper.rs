//! The keeper of a running cluster.

use std::fmt;

use anyhow::{Error, Result};

use super::Undo;
use super::bench::{Host, Workbench};
use crate::failpoint::failpoint;
use crate::keeper::Keeper;
use crate::state::ClusterDir;

/// The keeper's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeeperProcess;

impl fmt::Display for KeeperProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("start the keeper (DHCP, DNS)")
    }
}

/// Whether it runs, is of this version, and answers.
pub(crate) async fn look(dir: &ClusterDir) -> bool {
    Keeper::of(dir, &dir.name()).answers().await
}

impl KeeperProcess {
    pub(super) async fn make(self, bench: Workbench<'_>, undo: &mut Undo) -> Result<()> {
        let keeper = Keeper::of(bench.host.dir, &bench.host.dir.name());
        undo.push("the keeper", {
            let keeper = keeper.clone();
            move || async move { keeper.end().await.map(drop) }
        });
        keeper.ensure().await?;
        failpoint!("up.keeper");
        Ok(())
    }

    pub(super) async fn remove(self, host: Host<'_>) -> Vec<Error> {
        let keeper = Keeper::of(host.dir, &host.dir.name());
        keeper.end().await.err().into_iter().collect()
    }
}

//! The scope of systemd's that keeper and nodes run in. It ends with its last process, so nothing removes it.

use std::fmt;

use anyhow::{Context, Result};

use super::bench::Workbench;
use crate::failpoint::failpoint;
use crate::host::{enter_scope, needs_scope};
use crate::state::ClusterDir;

/// A scope, by its unit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemdScope {
    pub(crate) unit: String,
}

impl fmt::Display for SystemdScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "put keeper and nodes into systemd's {}", self.unit)
    }
}

/// The scope to enter before a keeper or a node starts; none if they would outlive the session anyway.
pub(crate) fn look(dir: &ClusterDir) -> Option<SystemdScope> {
    let unit = dir.scope();
    needs_scope(&unit).then_some(SystemdScope { unit })
}

impl SystemdScope {
    pub(super) async fn make(&self, bench: Workbench<'_>) -> Result<()> {
        // Without it the cluster works as long as the session does.
        if let Err(e) = self.enter(bench.host.dir).await {
            bench.progress.say(&format!(
                "warning: {e:#}; the nodes may end with this session or service"
            ));
        }
        failpoint!("up.scope");
        Ok(())
    }

    /// Moves this process, and so all that it starts from now on.
    ///
    /// # Errors
    /// Fails with systemd's words.
    pub(crate) async fn enter(&self, dir: &ClusterDir) -> Result<()> {
        let about = format!("kvmc's cluster {}: keeper and nodes", dir.name());
        let entered = enter_scope(&self.unit, &about).await;
        entered.with_context(|| format!("systemd gives kvmc no scope `{}`", self.unit))
    }
}

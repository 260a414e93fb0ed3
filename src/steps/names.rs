//! The cluster's names in systemd-resolved.

use std::fmt;

use anyhow::{Error, Result};

use super::Undo;
use super::bench::Workbench;
use crate::network;
use crate::state::ClusterRecord;

/// The registration of the cluster's names in systemd-resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) bridge: String,
    pub(crate) domain: String,
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bridge, domain } = self;
        write!(
            f,
            "register the names in {domain} on {bridge} with systemd-resolved"
        )
    }
}

impl Names {
    pub(super) fn make(
        &self,
        record: &mut ClusterRecord,
        bench: Workbench<'_>,
        undo: &mut Undo,
    ) -> Result<()> {
        record.host.resolved = true;
        record.save(bench.host.dir)?;
        undo.push("the cluster's names on the host", {
            let record = record.clone();
            move || async move { network::names::remove(&record) }
        });
        // Without the names, ssh_config still reaches every node.
        if let Err(e) = network::names::make(record) {
            bench.progress.say(&format!("{e:#}"));
        }
        Ok(())
    }

    pub(super) fn remove(record: Option<&ClusterRecord>) -> Vec<Error> {
        let removed = record.map(network::names::remove);
        removed.and_then(Result::err).into_iter().collect()
    }
}

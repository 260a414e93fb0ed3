//! Rules that a cluster adds to other programs' firewalls.

use std::fmt;

use anyhow::{Error, Result};
use kvmc_netns::firewall;

use super::Undo;
use super::bench::{Host, Workbench};
use crate::network::accepts;
use crate::state::ClusterRecord;

/// One added rule. Removing one removes all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accept {
    /// `None` if the added rules are unknown. The cluster's mark finds them.
    pub(crate) accept: Option<firewall::Accept>,
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.accept {
            Some(accept) => write!(f, "accept the nodes' packets in {accept}"),
            None => f.write_str("accept the nodes' packets in other firewalls"),
        }
    }
}

impl Accept {
    pub(super) fn make(
        &self,
        record: &ClusterRecord,
        bench: Workbench<'_>,
        undo: &mut Undo,
    ) -> Result<()> {
        let Some(accept) = &self.accept else {
            return Ok(());
        };
        undo.push("the rules in other programs' firewalls", {
            let dir = bench.host.dir.clone();
            move || async move { all_of(accepts::remove(&dir)) }
        });
        accepts::make(record, bench.host.dir, accept)
    }

    pub(super) fn remove(&self, host: Host<'_>) -> Vec<Error> {
        accepts::remove(host.dir)
    }
}

/// Turns errors into one, the first with the others after it.
fn all_of(errors: Vec<Error>) -> Result<()> {
    let mut errors = errors.into_iter();
    match errors.next() {
        None => Ok(()),
        Some(first) => Err(errors.fold(first, |all, e| all.context(format!("{e:#}")))),
    }
}

//! The host's sysctl for IPv4 or IPv6 forwarding.

use std::fmt;

use anyhow::{Context, Error, Result};
use kvmc_netns::outside::{outside, run_outside};

use super::Undo;
use super::bench::{Host, Workbench};
use crate::failpoint::failpoint;
use crate::network::forwarding::{self, Family};
use crate::state::ClusterRecord;

/// Forwarding for one IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarding {
    pub(crate) family: Family,
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.family {
            Family::V4 => "switch on net.ipv4.ip_forward",
            Family::V6 => {
                "switch on net.ipv6.conf.all.forwarding (links that accept router advertisements keep accepting them)"
            }
        })
    }
}

impl Forwarding {
    pub(super) fn make(
        self,
        record: &ClusterRecord,
        bench: Workbench<'_>,
        undo: &mut Undo,
    ) -> Result<()> {
        let state = bench.host.state;
        undo.push("forwarding", {
            let (state, name) = (state.clone(), bench.host.dir.name());
            let was_off = record.host.forwarding_was_off;
            move || async move { forwarding::release(&state, &name, was_off).map(drop) }
        });
        forwarding::enable(state, self.family)?;
        failpoint!("up.forwarding");
        Ok(())
    }

    /// Switches forwarding off for both IP versions, unless something else needs it.
    pub(super) fn remove(
        self,
        record: Option<&mut ClusterRecord>,
        host: Host<'_>,
        told: &mut Vec<String>,
    ) -> Vec<Error> {
        let was_off = record.as_ref().is_some_and(|r| r.host.forwarding_was_off);
        let release = |was_off| forwarding::release(host.state, &host.dir.name(), was_off);
        let mut errors = Vec::new();
        let mut released = vec![release(was_off)];
        if outside().is_some() {
            // A fork has switched it on in its own namespace and outside.
            let there = run_outside(|| release(false)).map_err(Error::from);
            released.push(there.and_then(|there| there));
        }
        for released in released {
            match released.context("cannot switch forwarding off") {
                Ok(why) => told.extend(why),
                Err(e) => errors.push(e),
            }
        }
        if let Some(record) = record.filter(|_| was_off) {
            record.host.forwarding_was_off = false;
            errors.extend(record.save(host.dir).err());
        }
        errors
    }
}

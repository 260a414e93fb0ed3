//! What `up` does once it has the cluster's lock: planning anew, since nobody else changes the cluster now,
//! and carrying that out.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::design_again;
use super::ready::Ready;
use super::report::{finish, say_accelerator};
use super::survey::Case;
use crate::cluster::{self, Ground, Work};
use crate::interrupt::Interrupt;
use crate::output;
use crate::plan::{Seen, Step};
use crate::state::{ClusterRecord, Lock, Phase};

/// The cluster as it is to be, and what is to be done for it.
pub(super) struct Planned {
    record: ClusterRecord,
    /// There is no record of it.
    is_new: bool,
    steps: Vec<Step>,
}

impl Case<'_> {
    /// What is there by now, and so the steps; `seen` is what was there a moment ago, where that still counts.
    ///
    /// # Errors
    /// A cluster that another verb has changed meanwhile, or a host that cannot be looked at.
    pub(super) async fn plan_again(&self, ready: &Ready, seen: Option<Seen>) -> Result<Planned> {
        let (dir, links) = (self.dir, self.links);
        let record = ready.record.clone();
        let existing = ClusterRecord::load(dir)?;
        if existing
            .as_ref()
            .is_some_and(|r| r.phase == Phase::Removing)
        {
            bail!(
                "cluster `{}` is half removed; `kvmc down` goes on with that",
                record.spec.name
            );
        }
        let mut record = design_again(record, &ready.images, existing.as_ref(), dir, links).await?;
        ready.warm.assign(&mut record, existing.as_ref());
        let seen = match seen.filter(|_| existing.is_none()) {
            Some(seen) => seen,
            None => cluster::look(&record, existing.as_ref(), dir, links).await?,
        };
        Ok(Planned {
            steps: cluster::steps(&record, &seen),
            is_new: existing.is_none(),
            record,
        })
    }

    /// Makes what is planned, and says how it went.
    ///
    /// # Errors
    /// A step of the cluster as a whole, or nodes that are not ready.
    pub(super) async fn carry_out(
        &self,
        ready: &Ready,
        planned: Planned,
        lock: Lock,
        interrupt: Interrupt,
        began: Instant,
    ) -> Result<ExitCode> {
        let Planned {
            record,
            is_new,
            steps,
        } = planned;
        if steps.is_empty() {
            output::talk(&format!(
                "cluster `{}` is up; nothing to do",
                record.spec.name
            ));
            return Ok(ExitCode::SUCCESS);
        }
        if steps.iter().any(|s| matches!(s, Step::StartNode { .. })) {
            say_accelerator(&record);
        }
        let patience = if record.accelerator.is_kvm() {
            300
        } else {
            900
        };
        let upped = cluster::up(Work {
            record: record.clone(),
            is_new,
            steps,
            ground: Ground {
                images: &ready.images,
                warm: &ready.warm,
                keys: &ready.keys,
                dir: self.dir,
                links: self.links,
                progress: &ready.progress(),
            },
            lock,
            timeout: Duration::from_secs(self.start.timeout.unwrap_or(patience)),
            interrupt,
        })
        .await?;
        ready.nodes.end();
        finish(&record, upped, began)
    }
}

//! `doctor`'s check for remains of removed clusters and for damaged records. It covers only this state folder and this
//! network namespace.

use std::time::Duration;

use anyhow::Result;
use kvmc_netns::Links;

use super::Local;
use super::down::sweep;
use super::removal::carry_out;
use crate::hint::{command, hints, host_command};
use crate::interrupt::Interrupt;
use crate::model::{Finding, Verdict};
use crate::network::{accepts, outlet};
use crate::plan;
use crate::state::{ClusterRecord, Found, Lock};
use crate::steps::{Traces, traces};

impl Local {
    /// Finds remains and damaged records. With `fix`, removes and repairs them.
    ///
    /// # Errors
    /// Fails if the host's links cannot be read, or if a repair fails.
    pub(crate) async fn remains(&self, fix: bool) -> Result<Vec<Finding>> {
        let links = Links::open()?;
        let mut seen = traces(&self.state, &links).await?;
        let mut findings = Vec::new();
        for name in self.cluster_names().await? {
            let local = self.of(&name);
            let dir = local.dir();
            // Another verb may be making or removing the cluster, so a missing record is not a fault.
            if Lock::holder(&dir).is_some() {
                continue;
            }
            let traces = seen.remove(&name).unwrap_or_default();
            findings.extend(match Found::look(&dir) {
                Found::Whole(record) => local.rest_of_fork(&record, fix).await?,
                Found::Copy(copy, error) => Some(local.restore(*copy, &error, fix).await?),
                Found::NotOurs(error) => {
                    let what = format!("{error:#}; {}", hints(&error).join("; "));
                    let what = what.trim_end_matches("; ").to_owned();
                    Some(local.finding(Verdict::Warning, what))
                }
                Found::Unreadable(error) => {
                    let down = command(&name, "down");
                    let what = format!("{error:#}; {down} removes the cluster");
                    Some(local.finding(Verdict::Damaged, what))
                }
                Found::Nothing => Some(local.remove_remains(traces, &links, fix).await?),
            });
        }
        if fix {
            sweep(self)?;
        }
        Ok(findings)
    }

    fn finding(&self, verdict: Verdict, what: String) -> Finding {
        let check = format!("cluster {}", self.cluster);
        Finding {
            check,
            verdict,
            what,
            cure: None,
        }
    }

    /// What a killed fork has left in the host's firewall, and the cures. What cannot be read is not told.
    pub(super) async fn left_outside(&self, record: &ClusterRecord) -> Option<String> {
        let left = outlet::left(record, &self.dir()).await.ok()?;
        (!left.is_empty()).then(|| {
            let (start, down) = (self.command("start"), self.command("down"));
            format!(
                "the fork was killed, and the host still has its rules ({}); {} removes them, as {start} and {down} do",
                left.join(", "),
                host_command("doctor --fix")
            )
        })
    }

    async fn rest_of_fork(&self, record: &ClusterRecord, fix: bool) -> Result<Option<Finding>> {
        let Some(told) = self.left_outside(record).await else {
            return Ok(None);
        };
        if !fix {
            return Ok(Some(self.finding(Verdict::Remains, told)));
        }
        let dir = self.dir();
        let _lock = Lock::take(&dir, "doctor", Duration::ZERO).await?;
        let removed = match self.load()? {
            Some(record) => outlet::remove_left(&record, &dir).await?,
            None => Vec::new(),
        };
        let what = format!(
            "removed what the killed fork had left: {}",
            removed.join(", ")
        );
        Ok((!removed.is_empty()).then(|| self.finding(Verdict::Mended, what)))
    }

    /// Makes the last good copy the record.
    async fn restore(
        &self,
        mut copy: ClusterRecord,
        error: &anyhow::Error,
        fix: bool,
    ) -> Result<Finding> {
        let generation = copy.generation;
        if !fix {
            let fix = self.command("doctor --fix");
            let what =
                format!("{error:#}; {fix} restores its last good copy (generation {generation})");
            return Ok(self.finding(Verdict::Damaged, what));
        }
        let dir = self.dir();
        let _lock = Lock::take(&dir, "doctor", Duration::ZERO).await?;
        copy.save(&dir)?;
        let what = format!("its record was damaged ({error:#}); restored generation {generation}");
        Ok(self.finding(Verdict::Mended, what))
    }

    async fn remove_remains(&self, traces: Traces, links: &Links, fix: bool) -> Result<Finding> {
        let dir = self.dir();
        let mut found = Vec::new();
        if !traces.is_empty() {
            found.push(traces.to_string());
        }
        if dir.path().exists() {
            found.push(format!("the folder {}", dir.path().display()));
        }
        let found = found.join(", ");
        if !fix {
            let fix = self.command("doctor --fix");
            let what = format!("remains of a removed cluster: {found}; {fix} removes them");
            return Ok(self.finding(Verdict::Remains, what));
        }
        let _lock = Lock::take(&dir, "doctor", Duration::ZERO).await?;
        let steps = plan::down(None, traces);
        let host = self.host(&dir, links);
        let mut interrupt = Interrupt::listen()?;
        let removed = carry_out(
            &steps,
            None,
            host,
            Duration::ZERO,
            &mut interrupt,
            &|_, _| {},
        )
        .await?;
        accepts::remove_leftovers(&self.cluster, links).await?;
        match removed.errors.into_iter().next() {
            Some(error) => Err(error.context(format!(
                "the remains of cluster `{}` were not removed",
                self.cluster
            ))),
            None => Ok(self.finding(Verdict::Mended, format!("removed {found}"))),
        }
    }
}

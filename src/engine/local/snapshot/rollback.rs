//! `snapshot rollback`: decides what to restore by writing the record, and restores it.

use std::time::Instant;

use anyhow::{Result, anyhow};

use super::restore::forget_undecided;
use super::save::{chains_of, next_number, stack};
use super::standby::Standing;
use super::{Restore, fits, folder, sweep};
use crate::engine::Lifecycle;
use crate::engine::StartOptions;
use crate::engine::local::Local;
use crate::engine::local::reach::{EndedSessions, end_sessions};
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, RolledBack};
use crate::network::check_namespace;
use crate::snapshot::{Manifest, Name};
use crate::state::{ClusterRecord, Phase, Restoration, replace_json};

/// What a tried command needs around a rollback.
pub(super) struct Around<'a> {
    /// QEMUs that can take the places of the running ones.
    pub(super) standing: &'a mut Option<Standing>,
    /// Gets the record as it was before, while its images are still there and the nodes run again.
    pub(super) before_removal: &'a mut dyn FnMut(&ClusterRecord),
}

impl Local {
    /// Brings the whole cluster back to a snapshot. What its nodes have done since is lost.
    ///
    /// # Errors
    /// Fails without a change if there is no such snapshot, if it does not fit, or if it was [`Interrupted`]. Once the old
    /// QEMUs are ended, the next verb completes what this one could not.
    pub(crate) async fn roll_back(&self, name: &Name, keeps_clock: bool) -> Result<RolledBack> {
        let mut interrupt = Interrupt::listen()?;
        let none = Around {
            standing: &mut None,
            before_removal: &mut |_| {},
        };
        self.go_back(name, keeps_clock, none, &mut interrupt).await
    }

    /// As [`Self::roll_back`], with what a tried command needs around it.
    pub(super) async fn go_back(
        &self,
        name: &Name,
        keeps_clock: bool,
        around: Around<'_>,
        interrupt: &mut Interrupt,
    ) -> Result<RolledBack> {
        let began = Instant::now();
        let record = self.require()?;
        check_namespace(&record)?;
        let dir = self.dir();
        folder::named(&dir, &self.cluster, name)?;
        let (mut record, lock) = self.lock("snapshot rollback", interrupt).await?;
        if record.phase == Phase::Removing {
            return Err(self.half_removed());
        }
        self.recover(&mut record).await?;
        let manifest = folder::named(&dir, &self.cluster, name)?;
        self.check_standing(around.standing, &record, &manifest)?;
        let standing = around.standing.take();
        let number = match &standing {
            Some(standing) => standing.number,
            None => next_number(&record)?,
        };
        let from = Restoration {
            snapshot: Some(name.to_string()),
            number,
            keeps_clock,
        };
        let restore = Restore::new(from.clone(), manifest.clone());
        if standing.is_none() {
            restore.check(self, &record)?;
        }
        if interrupt.has_come().await {
            return Err(Interrupted("the cluster is unchanged".to_owned()).into());
        }
        let before = record.clone();
        let decided = Instant::now();
        let then = standing.as_ref().map(|s| &s.record);
        if let Err(error) = self.decide(&from, &manifest, then, &mut record) {
            // Whether the record was written is not known.
            record.save(&dir)?;
            forget_undecided(&dir)?;
            sweep::sweep(&dir, &mut record)?;
            return Err(error);
        }
        failpoint!("rollback.record");
        let (run, ahead) = if before.phase == Phase::Stopped {
            drop(lock);
            self.start(&[], StartOptions::default()).await?;
            (Instant::now(), false)
        } else {
            self.run_again(&restore, standing, &record).await?
        };
        let (down, took) = (run - decided, run - began);
        let mut ended = EndedSessions::default();
        if before.phase != Phase::Stopped {
            if record.phase != Phase::Up {
                record.phase = Phase::Up;
                record.save(&dir)?;
            }
            ended = self.end_sessions(name.as_str()).await;
            (around.before_removal)(&before);
            sweep::remove_images(&dir, &record)?;
        }
        failpoint!("rollback.done");
        Ok(RolledBack {
            name: name.to_string(),
            nodes: manifest.nodes.len(),
            ahead,
            sessions: ended.ended,
            untold: ended.untold,
            down,
            took,
        })
    }

    /// Ends the sessions on nodes that have gone back to a snapshot. They know nothing of them.
    pub(super) async fn end_sessions(&self, to: &str) -> EndedSessions {
        let why = |node: &str| {
            let again = self.command(&format!("ssh {node}"));
            format!(
                "cluster `{}` went back to snapshot `{to}`; this session has ended, and {again} opens another",
                self.cluster
            )
        };
        end_sessions(&self.dir(), |_| true, why).await
    }

    /// Ends what stands by if it cannot take the nodes' places as they are now.
    fn check_standing(
        &self,
        standing: &mut Option<Standing>,
        record: &ClusterRecord,
        manifest: &Manifest,
    ) -> Result<()> {
        let checked = match standing {
            None => return Ok(()),
            Some(_) if record.phase == Phase::Stopped => Err(anyhow!("the cluster is stopped")),
            Some(standing) => standing.check(record),
        };
        let checked = checked.and_then(|()| fits::check(self, record, manifest));
        if let Err(why) = checked
            && let Some(useless) = standing.take()
        {
            let said = format!("a plain rollback, because of the machines that stand by: {why:#}");
            self.progress.say(&said);
            useless.end_under_lock(self, record)?;
        }
        Ok(())
    }

    /// Lets the nodes run again, by what stands by or else by new QEMUs. Returns when all ran, and
    /// whether it was the former.
    async fn run_again(
        &self,
        restore: &Restore,
        standing: Option<Standing>,
        record: &ClusterRecord,
    ) -> Result<(Instant, bool)> {
        let Some(standing) = standing else {
            restore.bring_back(self, record).await?;
            return Ok((Instant::now(), false));
        };
        let run = match self.take_over(record, &standing).await {
            Ok(replaced) => {
                let run = Instant::now();
                failpoint!("try.running");
                replaced.end().await?;
                (run, true)
            }
            Err(why) => {
                self.progress.say(&format!(
                    "warning: a plain rollback, because the machines that stand by did not take over: {why:#}"
                ));
                restore.bring_back(self, record).await?;
                (Instant::now(), false)
            }
        };
        standing.forget(self, record)?;
        Ok(run)
    }

    /// Writes down that the cluster goes back. The record decides.
    ///
    /// Where the images are there already, `then` has them.
    pub(super) fn decide(
        &self,
        from: &Restoration,
        manifest: &Manifest,
        then: Option<&ClusterRecord>,
        record: &mut ClusterRecord,
    ) -> Result<()> {
        let dir = self.dir();
        let chains = chains_of(record, manifest)?;
        let before = record.clone();
        let decided = || -> Result<()> {
            match then {
                Some(then) => {
                    for (node, then) in record.nodes.iter_mut().zip(&then.nodes) {
                        node.chains.clone_from(&then.chains);
                    }
                }
                None => stack(&dir, record, chains)?,
            }
            failpoint!("rollback.images");
            replace_json(&dir.restoring(), from, 0o600)?;
            failpoint!("rollback.marked");
            record.snapshot.clone_from(&from.snapshot);
            record.save(&dir)
        };
        let result = decided();
        if result.is_err() {
            let generation = record.generation;
            *record = before;
            record.generation = generation;
        }
        result
    }
}

//! The part of `up` under the cluster's lock. It plans again, because the cluster cannot change any more, and carries
//! the plan out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::changes::{check_removal, check_same};
use super::look::look;
use super::pending::{adopt, pending};
use super::ready::Ready;
use super::run::Run;
use super::saved;
use crate::engine::local::boot::Boot;
use crate::engine::local::snapshot::Restore;
use crate::failpoint::failpoint;
use crate::hint::{add_hint, bail_with_hint};
use crate::host::cores;
use crate::interrupt::Interrupt;
use crate::model::{Accelerator, Interrupted, NodeStop, UpOutcome, UpReport};
use crate::network::forwarding::{self, Family};
use crate::node::vcpus;
use crate::plan::{self, Seen, Step};
use crate::project;
use crate::spec::Change;
use crate::state::{ClusterRecord, Lock, Phase, private_dir};
use crate::steps::{Undo, Workbench, folder, leave, node};
use crate::trace;

/// Time for a removed node to power off. Its systemd gives each service 90 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// The planned cluster, and the steps to it.
pub(super) struct Planned {
    record: ClusterRecord,
    /// The cluster has no record yet.
    is_new: bool,
    steps: Vec<Step>,
}

impl Run<'_> {
    /// Plans the steps from what there is now. `seen` is an earlier look that is still valid.
    ///
    /// # Errors
    /// Fails if another verb has changed the cluster, or if the state of the host cannot be read.
    pub(super) async fn plan_again(&self, ready: &Ready, seen: Option<Seen>) -> Result<Planned> {
        let existing = self.local.load()?;
        if let Some(record) = &existing {
            self.dir.check_entered(record)?;
        }
        saved::check_expected(self.expects.as_ref(), existing.as_ref())?;
        if let Some(before) = self.existing {
            check_same(before, existing.as_ref(), &self.start.scope)?;
        }
        check_removal(
            &self.dir,
            existing.as_ref(),
            &self.spec,
            &self.start.consent,
        )?;
        if existing
            .as_ref()
            .is_some_and(|r| r.phase == Phase::Removing)
        {
            return Err(self.local.half_removed());
        }
        let record = ready.record.clone();
        let existing = existing.as_ref();
        let mut record = self.design_again(record, &ready.images, existing).await?;
        let accelerator = record.accelerator.clone();
        for node in &mut record.nodes {
            if existing.is_none_or(|r| r.node(&node.name).is_err()) {
                ready.frozen.assign(node, &accelerator);
            }
        }
        let seen = match seen.filter(|_| existing.is_none()) {
            Some(seen) => seen,
            None => look(&record, existing, &self.dir, self.links).await?,
        };
        Ok(Planned {
            steps: plan::up(&record, &seen, &self.start.scope),
            is_new: existing.is_none(),
            record,
        })
    }

    /// Carries out the plan. If it fails or is interrupted before the nodes boot, it removes everything of a new
    /// cluster. Later, it keeps what was made.
    ///
    /// # Errors
    /// Fails if a step for the whole cluster fails; everything that this run made is removed then. Nodes that fail are
    /// in the returned value.
    pub(super) async fn carry_out(
        &self,
        ready: &Ready,
        planned: Planned,
        lock: Lock,
        mut interrupt: Interrupt,
        began: Instant,
    ) -> Result<UpReport> {
        let _held_to_the_end = lock;
        let Planned {
            mut record,
            is_new,
            steps,
        } = planned;
        self.local.end_unwanted_standby(&record).await?;
        let restore = Restore::of_start(self.local, &record, &self.start)?;
        if steps.is_empty() && restore.is_none() {
            return Ok(self.report(&record, UpOutcome::NothingToDo, began));
        }
        let to_start: Vec<_> = steps.iter().filter_map(Step::starts).collect();
        if !to_start.is_empty() {
            self.say_accelerator(&record);
        }
        let (leaving, making) = Step::after_removal(&steps);
        if !leaving.is_empty() {
            // Nothing brings the data of a removed node back.
            let none = Undo::default();
            self.make(ready, leaving, &mut record, false, &mut interrupt, none)
                .await?;
        }
        let undo = self.undo()?;
        self.make(ready, making, &mut record, is_new, &mut interrupt, undo)
            .await?;
        let to_start: Vec<_> = to_start.into_iter().map(str::to_owned).collect();
        let boot = Boot {
            record: &record,
            images: &ready.images,
            frozen: &ready.frozen,
            dir: &self.dir,
            links: self.links,
            progress: &self.local.progress,
            timeout: self.start.timeout.unwrap_or_else(|| patience(&record)),
        };
        let running = async {
            match &restore {
                Some(restore) => {
                    restore.run(self.local, &record).await?;
                    boot.run(&[]).await
                }
                None => boot.run(&to_start).await,
            }
        };
        let failed = tokio::select! {
            failed = running => failed?,
            () = interrupt.wait() => return Err(self.goes_on().into()),
        };
        record.phase = Phase::Up;
        record.save(&self.dir)?;
        failpoint!("up.done");
        // What does not grow is noted at the node, and hides no node that failed.
        let grown = self.grow(ready, making, &record, &mut interrupt).await;
        self.local.progress.end();
        match grown {
            Err(error) if !failed.is_empty() && !error.is::<Interrupted>() => {
                self.local.progress.say(&format!("error: {error:#}"));
            }
            grown => grown?,
        }
        let removed = leaving.iter().filter_map(|s| match s {
            Step::Forget(nodes) => Some(nodes.iter().map(|n| n.name.clone())),
            _ => None,
        });
        let outcome = UpOutcome::Done {
            started: to_start,
            failed,
            removed: removed.flatten().collect(),
        };
        Ok(self.report(&record, outcome, began))
    }

    /// Grows the disks of nodes that run. The others have grown at their start.
    async fn grow(
        &self,
        ready: &Ready,
        steps: &[Step],
        record: &ClusterRecord,
        interrupt: &mut Interrupt,
    ) -> Result<()> {
        let mut errors = Vec::new();
        for step in steps {
            let Some(growth) = step.grows() else { continue };
            let grown = tokio::select! {
                grown = growth.make(record, self.bench(ready)) => grown,
                () = interrupt.wait() => return Err(self.goes_on().into()),
            };
            errors.extend(grown.err().map(|e| format!("cannot {step}: {e:#}")));
        }
        match errors.is_empty() {
            true => Ok(()),
            false => bail_with_hint!(
                format!(
                    "{} tries again, and so does the next start of the node",
                    self.local.command("up")
                ),
                "{}",
                errors.join("; ")
            ),
        }
    }

    fn bench<'a>(&'a self, ready: &'a Ready) -> Workbench<'a> {
        Workbench {
            host: self.local.host(&self.dir, self.links),
            images: &ready.images,
            frozen: &ready.frozen,
            keys: &ready.keys,
            progress: self.local.progress.as_ref(),
        }
    }

    /// Prepares to undo a cluster that cannot be made.
    fn undo(&self) -> Result<Undo> {
        let mut undo = Undo::default();
        let dir = self.dir.clone();
        match self.local.load()? {
            None => undo.push("the cluster's folder", move || async move {
                folder::remove(&dir)
            }),
            // Nodes that ran before go on running, so the old record is valid again only if the cluster was stopped.
            Some(mut before) if before.phase == Phase::Stopped => {
                undo.push("the record", move || async move { before.save(&dir) });
            }
            Some(_) => {}
        }
        Ok(undo)
    }

    /// Carries out all steps except the starts of nodes.
    async fn make(
        &self,
        ready: &Ready,
        steps: &[Step],
        record: &mut ClusterRecord,
        is_new: bool,
        interrupt: &mut Interrupt,
        mut undo: Undo,
    ) -> Result<()> {
        let bench = self.bench(ready);
        let patience = self.start.patience.unwrap_or(PATIENCE);
        // Nodes that go on running need their network, whatever else fails.
        let keeps = self.existing.is_some_and(|r| r.phase != Phase::Stopped);
        let made = async {
            private_dir(self.dir.path())?;
            adopt(record, &self.dir)?;
            for step in steps {
                if interrupt.has_come().await {
                    return Ok(false);
                }
                let taken = take(step, record, bench, patience, interrupt, &mut undo).await;
                trace::verbose(|| match &taken {
                    Ok(_) => step.to_string(),
                    Err(e) => format!("cannot {step}: {e:#}"),
                });
                taken.with_context(|| format!("cannot {step}"))?;
            }
            // Another cluster, removed since the look, may have switched forwarding off.
            forwarding::enable(bench.host.state, Family::V4)?;
            if forwarding::has_ipv6(record) {
                forwarding::enable(bench.host.state, Family::V6)?;
            }
            anyhow::Ok(!interrupt.has_come().await)
        };
        match made.await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let is_gone = is_new && self.take_back(undo).await;
                Err(match is_gone {
                    true => Interrupted("everything that was made is removed".to_owned()),
                    false => self.goes_on(),
                }
                .into())
            }
            Err(error) if keeps => {
                let up = self.local.command("up");
                Err(add_hint(
                    error,
                    format!("the rest of the cluster goes on; {up} tries again"),
                ))
            }
            Err(error) => {
                self.take_back(undo).await;
                Err(error)
            }
        }
    }

    /// Undoes what was made, and returns whether that succeeded.
    async fn take_back(&self, undo: Undo) -> bool {
        let progress = &self.local.progress;
        progress.say("removing what was made");
        let left = undo.run().await;
        for error in &left {
            progress.say(&format!("{error:#}"));
        }
        left.is_empty()
    }

    fn report(&self, record: &ClusterRecord, outcome: UpOutcome, began: Instant) -> UpReport {
        let has_folder = project::has_folder(record);
        UpReport {
            cluster: record.spec.name.clone(),
            nodes: record.nodes.len(),
            first: record
                .nodes
                .first()
                .map(|n| n.name.clone())
                .unwrap_or_default(),
            outcome,
            pending: pending(record, &self.dir),
            waiting: self.waiting(record),
            project: record.project.clone(),
            instead: (!has_folder).then(|| self.dir.path().to_owned()),
            faults: Vec::new(),
            took: began.elapsed(),
        }
    }

    /// The cluster's settings that differ from before and do not change live.
    fn waiting(&self, record: &ClusterRecord) -> Vec<String> {
        let before = self.existing.filter(|r| r.phase != Phase::Stopped);
        let differences = before.map(|r| r.spec.differences(&record.spec));
        let differences = differences.into_iter().flatten();
        let waiting =
            differences.filter(|d| d.change == Change::NextStart && d.key.role_name().is_none());
        waiting.map(|d| d.key.to_string()).collect()
    }

    fn goes_on(&self) -> Interrupted {
        let (up, down) = (self.local.command("up"), self.local.command("down"));
        Interrupted(format!("{up} completes the cluster, {down} removes it"))
    }

    pub(super) fn say_accelerator(&self, record: &ClusterRecord) {
        let Accelerator::Tcg { why, .. } = &record.accelerator else {
            return;
        };
        let asked = record.nodes.iter().map(|n| n.vcpus).max().unwrap_or(0);
        let given = vcpus(asked, &record.accelerator);
        let held = if given < asked {
            let cores = cores();
            format!("; {given} of {asked} vcpus a node, the host has {cores} cores")
        } else {
            String::new()
        };
        let text = format!("the nodes run slowly, emulated by TCG ({why}){held}");
        self.local.progress.say(&text);
    }
}

/// Carries out one step, except the start of a node.
async fn take(
    step: &Step,
    record: &mut ClusterRecord,
    bench: Workbench<'_>,
    patience: Duration,
    interrupt: &mut Interrupt,
    undo: &mut Undo,
) -> Result<()> {
    match step {
        Step::Make(object) => object.make(record, bench, undo).await,
        Step::Stop(nodes) => {
            let say = |node: &str, _: &NodeStop| bench.progress.say(&format!("{node} is stopped"));
            match node::stop(nodes, bench.host, patience, interrupt, &say).await? {
                node::Stopped::Done { errors, .. } => first(errors),
                // The loop over the steps notices the interruption.
                node::Stopped::Interrupted => Ok(()),
            }
        }
        Step::Leave(_) => leave::announce(record, bench.host.dir),
        Step::Forget(nodes) => leave::forget(nodes, record, bench.host.dir),
        Step::Remove(object) => {
            let mut told = Vec::new();
            let errors = object.remove(Some(record), bench.host, &mut told).await;
            for text in told {
                bench.progress.say(&text);
            }
            first(errors)
        }
        // Only the removal of a cluster contains these steps.
        Step::Kill(_) | Step::Enter(_) => Ok(()),
    }
}

fn first(errors: Vec<anyhow::Error>) -> Result<()> {
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// The default time that each node has to become ready.
const fn patience(record: &ClusterRecord) -> Duration {
    Duration::from_secs(if record.accelerator.is_kvm() {
        300
    } else {
        900
    })
}

//! The part of `up` under the cluster's lock. It plans again, because the cluster cannot change any more, and carries
//! the plan out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::look::look;
use super::ready::Ready;
use super::run::Run;
use crate::engine::local::boot::Boot;
use crate::failpoint::failpoint;
use crate::host::cores;
use crate::interrupt::Interrupt;
use crate::model::{Accelerator, Interrupted, NodeFailure, NodeStop, UpOutcome, UpReport};
use crate::network::forwarding::{self, Family};
use crate::node::{Identity, find_qemu, vcpus};
use crate::plan::{self, Seen, Step};
use crate::project;
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, private_dir, read_json, replace_json};
use crate::steps::{Undo, Workbench, folder, node};

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
            steps: plan::up(&record, &seen),
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
        if steps.is_empty() {
            return Ok(self.report(&record, UpOutcome::NothingToDo, began));
        }
        let to_start: Vec<_> = steps.iter().filter_map(Step::starts).collect();
        if !to_start.is_empty() {
            self.say_accelerator(&record);
        }
        let undo = self.undo()?;
        self.make(ready, &steps, &mut record, is_new, &mut interrupt, undo)
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
        let failed = tokio::select! {
            failed = boot.run(&to_start) => failed?,
            () = interrupt.wait() => return Err(self.goes_on().into()),
        };
        record.phase = Phase::Up;
        record.save(&self.dir)?;
        failpoint!("up.done");
        self.local.progress.end();
        Ok(self.report(&record, done(to_start, failed), began))
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
        let bench = Workbench {
            host: self.local.host(&self.dir, self.links),
            images: &ready.images,
            frozen: &ready.frozen,
            keys: &ready.keys,
            progress: self.local.progress.as_ref(),
        };
        let made = async {
            private_dir(self.dir.path())?;
            adopt(record, &self.dir)?;
            for step in steps {
                if interrupt.has_come().await {
                    return Ok(false);
                }
                let taken = take(step, record, bench, interrupt, &mut undo).await;
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
            project: record.project.clone(),
            instead: (!has_folder).then(|| self.dir.path().to_owned()),
            took: began.elapsed(),
        }
    }

    fn goes_on(&self) -> Interrupted {
        let (up, down) = (self.local.command("up"), self.local.command("down"));
        Interrupted(format!("{up} completes the cluster, {down} removes it"))
    }

    fn say_accelerator(&self, record: &ClusterRecord) {
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
    interrupt: &mut Interrupt,
    undo: &mut Undo,
) -> Result<()> {
    match step {
        Step::Make(object) => object.make(record, bench, undo).await,
        Step::Stop(nodes) => {
            let say = |node: &str, _: &NodeStop| bench.progress.say(&format!("{node} is stopped"));
            match node::stop(nodes, bench.host, PATIENCE, interrupt, &say).await? {
                node::Stopped::Done { errors, .. } => first(errors),
                // The loop over the steps notices the interruption.
                node::Stopped::Interrupted => Ok(()),
            }
        }
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

/// Records our running QEMU processes that are not recorded, because a verb was killed right after it started them.
/// Otherwise the keeper would not attend them.
fn adopt(record: &ClusterRecord, dir: &ClusterDir) -> Result<()> {
    for node in &record.nodes {
        let path = dir.node(&node.name).process();
        let recorded = read_json::<Identity>(&path).ok().flatten();
        if recorded.is_some_and(|identity| identity.open().is_some()) {
            continue;
        }
        if let Some(found) = find_qemu(&node.uuid) {
            replace_json(&path, &found, 0o600)?;
        }
    }
    Ok(())
}

/// The default time that each node has to become ready.
const fn patience(record: &ClusterRecord) -> Duration {
    Duration::from_secs(if record.accelerator.is_kvm() {
        300
    } else {
        900
    })
}

const fn done(started: Vec<String>, failed: Vec<NodeFailure>) -> UpOutcome {
    UpOutcome::Done { started, failed }
}

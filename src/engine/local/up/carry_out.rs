//! What `up` does once it has the cluster's lock: planning anew, since nobody else changes the cluster now,
//! and carrying that out.

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
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, private_dir, read_json, replace_json};
use crate::steps::{Undo, Workbench, folder, node};

/// For a node that is removed to power off.
const PATIENCE: Duration = Duration::from_secs(90);

/// The cluster as it is to be, and what is to be done for it.
pub(super) struct Planned {
    record: ClusterRecord,
    /// There is no record of it.
    is_new: bool,
    steps: Vec<Step>,
}

impl Run<'_> {
    /// What is there by now, and so the steps; `seen` is what was there a moment ago, where that still counts.
    ///
    /// # Errors
    /// A cluster that another verb has changed meanwhile, or a host that cannot be looked at.
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

    /// Makes what is planned. Interrupted before the nodes boot, it leaves nothing of a new cluster, as when it
    /// fails; later, what there is stays.
    ///
    /// # Errors
    /// A step of the cluster as a whole; all that this run made of it is gone again then. A node that
    /// fails is no such error: it is in the answer.
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
            return Ok(report(&record, UpOutcome::NothingToDo, began));
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
        Ok(report(&record, done(to_start, failed), began))
    }

    /// What takes back a cluster that cannot be made; before anything of it is.
    fn undo(&self) -> Result<Undo> {
        let mut undo = Undo::default();
        let dir = self.dir.clone();
        match self.local.load()? {
            None => undo.push("the cluster's folder", move || async move {
                folder::remove(&dir)
            }),
            // What of it ran before runs on, so only what was stopped is said to be so again.
            Some(mut before) if before.phase == Phase::Stopped => {
                undo.push("the record", move || async move { before.save(&dir) });
            }
            Some(_) => {}
        }
        Ok(undo)
    }

    /// Carries out all steps but the nodes' starts.
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
                taken.with_context(|| format!("failed to {step}"))?;
            }
            // Another cluster that went between the look and the record took this one for not there.
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
                    true => Interrupted("nothing is left of what was made".to_owned()),
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

    /// True when nothing went wrong with it.
    async fn take_back(&self, undo: Undo) -> bool {
        let progress = &self.local.progress;
        progress.say("taking back what was made");
        let left = undo.run().await;
        for error in &left {
            progress.say(&format!("{error:#}"));
        }
        left.is_empty()
    }

    fn goes_on(&self) -> Interrupted {
        let (up, down) = (self.local.command("up"), self.local.command("down"));
        Interrupted(format!(
            "{up} goes on from here, {down} removes what there is"
        ))
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
        let text = format!("emulating with TCG, slowly ({why}){held}");
        self.local.progress.say(&text);
    }
}

/// Carries out one step, but for a node's start.
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
                // The loop between steps sees to it.
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
        // Of the removal of a cluster alone.
        Step::Kill(_) | Step::Enter(_) => Ok(()),
    }
}

fn first(errors: Vec<anyhow::Error>) -> Result<()> {
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// Writes down the QEMUs of ours that run and never were: who started them was killed in between. Without
/// that nobody would attend them.
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

/// What each node has to become ready, where nobody says otherwise.
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

fn report(record: &ClusterRecord, outcome: UpOutcome, began: Instant) -> UpReport {
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
        took: began.elapsed(),
    }
}

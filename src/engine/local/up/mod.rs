//! `up` and `start`: look, plan, carry out; what was made for the cluster is taken back on failure.

mod carry_out;
mod changes;
mod look;
mod ready;
mod run;
mod survey;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kvmc_images::Store;
use kvmc_netns::Links;

use self::changes::check_unchanged;
pub(super) use self::run::Target;
use self::run::{AS_IT_WAS, Run, unless_told};
use self::survey::Survey;
use super::Local;
use crate::engine::{Lifecycle, StartOptions, UpRequest};
use crate::hint::advise;
use crate::image::Asked;
use crate::interrupt::Interrupt;
use crate::model::{PlanReport, UpReport};
use crate::network::free_subnet;
use crate::spec::{ClusterSpec, Key, Settings, Value, check};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, replace};
use crate::steps::traces;

/// After this long the host is looked at again: others change their firewalls as they like.
const STALE: Duration = Duration::from_secs(2);
/// See [`Lifecycle::up`].
pub(super) async fn up(local: &Local, request: UpRequest) -> Result<UpReport> {
    if local.load()?.is_some_and(|r| r.phase == Phase::Removing) {
        local.progress.say(&format!(
            "cluster `{}` is half removed; first the rest of it goes",
            local.cluster
        ));
        let report = local.down().await?;
        if !report.errors.is_empty() {
            bail!(
                "the rest of cluster `{}` cannot be removed: {}",
                local.cluster,
                report.errors.join("; ")
            );
        }
    }
    let (target, existing) = target(local, request).await?;
    bring_up(local, target, existing).await
}

/// See [`Lifecycle::plan`].
pub(super) async fn plan(local: &Local, request: UpRequest) -> Result<PlanReport> {
    if local.load()?.is_some_and(|r| r.phase == Phase::Removing) {
        return Err(local.half_removed());
    }
    let (target, existing) = target(local, request).await?;
    let links = Links::open()?;
    let run = Run::new(local, &links, target, existing.as_ref(), false)?;
    let Survey {
        record,
        seen,
        mut probe,
        missing,
        unprepared,
        ..
    } = run.survey().await?;
    run.refuse_taken(&mut probe).await?;
    let make = run.wanted.to_make();
    let make = make.iter().map(ToString::to_string);
    let prepare = unprepared.iter().map(|n| format!("prepare the image {n}"));
    let freeze = missing
        .iter()
        .map(|shape| format!("freeze a machine of {shape}"));
    let steps = crate::plan::up(&record, &seen);
    let rest = steps.iter().map(ToString::to_string);
    Ok(PlanReport {
        cluster: local.cluster.clone(),
        steps: make.chain(prepare).chain(freeze).chain(rest).collect(),
    })
}

/// See [`Lifecycle::start`].
pub(super) async fn start(local: &Local, options: StartOptions) -> Result<UpReport> {
    let record = local.require()?;
    if record.phase == Phase::Removing {
        return Err(local.half_removed());
    }
    let target = Target {
        spec: record.spec.clone(),
        project: record.project.clone(),
        pull: Asked::default(),
        start: options,
    };
    bring_up(local, target, Some(record)).await
}

/// What is asked for, with all that only the host tells, and what there is of it.
async fn target(local: &Local, request: UpRequest) -> Result<(Target, Option<ClusterRecord>)> {
    let mut settings = request.settings;
    let mut spec = check(&settings)?;
    let existing = local.load()?;
    if existing.is_none() {
        refuse_remains(local).await?;
    }
    if *settings.cluster("network.subnet")? == Value::Subnet(None) {
        settle_subnet(&mut settings, &spec, &local.dir(), existing.as_ref()).await?;
        spec = check(&settings)?;
    }
    if let Some(record) = &existing {
        check_unchanged(record, &spec, &settings)?;
    }
    let target = Target {
        spec,
        project: request.project,
        pull: request.pull,
        start: request.start,
    };
    Ok((target, existing))
}

/// Puts a subnet in the place of `auto`: the cluster's own, or one that is free.
pub(super) async fn settle_subnet(
    settings: &mut Settings,
    spec: &ClusterSpec,
    dir: &ClusterDir,
    existing: Option<&ClusterRecord>,
) -> Result<()> {
    let subnet = match existing {
        Some(record) => record.spec.subnet,
        None => free_subnet(spec, dir, &Links::open()?).await?,
    };
    settings.settle(Key::cluster("network.subnet"), Value::Subnet(Some(subnet)));
    Ok(())
}

/// Without a record a new cluster would be made over what is left of the old one.
async fn refuse_remains(local: &Local) -> Result<()> {
    let (dir, name) = (local.dir(), &local.cluster);
    let remains = traces(&local.state, &Links::open()?).await?.remove(name);
    // Unless it is being made or removed at this moment, by one that holds the lock.
    if let Some(remains) = remains
        && Lock::holder(&dir).is_none()
        && local.load()?.is_none()
    {
        return Err(advise(
            anyhow::anyhow!("there is no record of cluster `{name}`, but there is {remains}"),
            format!("{} removes that", local.command("down")),
        ));
    }
    Ok(())
}

/// Brings a cluster up. What it lies on is made ready first, for other clusters too; only then is the cluster's lock
/// taken, and made what is not there.
///
/// # Errors
/// See [`Lifecycle::up`]; that it was interrupted.
pub(super) async fn bring_up(
    local: &Local,
    target: Target,
    existing: Option<ClusterRecord>,
) -> Result<UpReport> {
    let began = Instant::now();
    let links = Links::open()?;
    let run = Run::new(local, &links, target, existing.as_ref(), true)?;
    let survey = run.survey().await?;
    let takes_long = survey.takes_long(&run.wanted);
    let Survey {
        record,
        found,
        seen,
        looked,
        mut probe,
        ..
    } = survey;
    // Its answers are waited for before anything that takes long; else that time is of use.
    if takes_long {
        run.refuse_taken(&mut probe).await?;
    }
    let _found = found.hold(&Store::open(local.state.root()))?;
    let mut interrupt = Interrupt::listen()?;
    let ready = run.make_ready(record, &mut interrupt).await?;
    run.refuse_taken(&mut probe).await?;
    let taking = Lock::take(run.dir(), "up", local.wait);
    let lock = unless_told(&mut interrupt, AS_IT_WAS, taking).await??;
    // Where there was nothing a moment ago there is nothing now, unless there is a record.
    let seen = (existing.is_none() && looked.elapsed() < STALE).then_some(seen);
    let planned = match run.plan_again(&ready, seen).await {
        Ok(planned) => planned,
        Err(error) => {
            lock.abandon();
            return Err(error);
        }
    };
    for (role, text) in &run.user_data {
        // As it is now: nodes that join later get the same.
        replace(&run.dir().user_data(role), text.as_bytes(), 0o600)?;
    }
    run.carry_out(&ready, planned, lock, interrupt, began).await
}

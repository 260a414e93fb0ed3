//! `up` and `start`: look, plan and carry out. On failure, everything that was made is removed.

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
use self::run::{Run, UNCHANGED, unless_interrupted};
use self::survey::Survey;
use super::Local;
use crate::engine::{Lifecycle, StartOptions, UpRequest};
use crate::hint::add_hint;
use crate::image::PullOptions;
use crate::interrupt::Interrupt;
use crate::model::{PlanReport, UpReport};
use crate::network::free_subnet;
use crate::spec::{ClusterSpec, Key, Settings, Value, check};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, replace};
use crate::steps::traces;

/// Age after which a look at the host is repeated, because other programs may change the firewall at any time.
const STALE: Duration = Duration::from_secs(2);
/// See [`Lifecycle::up`].
pub(super) async fn up(local: &Local, request: UpRequest) -> Result<UpReport> {
    if local.load()?.is_some_and(|r| r.phase == Phase::Removing) {
        local.progress.say(&format!(
            "cluster `{}` is partly removed; `up` removes the rest first",
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
        insists: true,
        project: record.project.clone(),
        pull: PullOptions::default(),
        start: options,
    };
    bring_up(local, target, Some(record)).await
}

/// The requested cluster, with the settings that depend on the host, and the existing record.
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
    let subnet = Key::cluster("network.subnet");
    let target = Target {
        spec,
        insists: settings.source(&subnet).is_asked(),
        project: request.project,
        pull: request.pull,
        start: request.start,
    };
    Ok((target, existing))
}

/// Replaces the subnet `auto` by the cluster's current subnet, or by a free one.
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

/// Refuses to make a new cluster over the remains of an old one.
async fn refuse_remains(local: &Local) -> Result<()> {
    let (dir, name) = (local.dir(), &local.cluster);
    let remains = traces(&local.state, &Links::open()?).await?.remove(name);
    // Another verb that holds the lock may be making or removing the cluster.
    if let Some(remains) = remains
        && Lock::holder(&dir).is_none()
        && local.load()?.is_none()
    {
        return Err(add_hint(
            anyhow::anyhow!("cluster `{name}` has no record, but this host has {remains}"),
            format!("{} removes them", local.command("down")),
        ));
    }
    Ok(())
}

/// Brings a cluster up. First it makes ready what other clusters use too, without the cluster's lock. Then it takes
/// the lock and makes what is missing.
///
/// # Errors
/// See [`Lifecycle::up`]. Also fails if it was [`Interrupted`].
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
    // Await the probe before anything that takes long. Otherwise let it run meanwhile, because its wait is useful
    // time.
    if takes_long {
        run.refuse_taken(&mut probe).await?;
    }
    let _found = found.hold(&Store::open(local.state.root()))?;
    let mut interrupt = Interrupt::listen()?;
    let ready = run.make_ready(record, &mut interrupt).await?;
    run.refuse_taken(&mut probe).await?;
    let taking = Lock::take(run.dir(), "up", local.wait);
    let lock = unless_interrupted(&mut interrupt, UNCHANGED, taking).await??;
    // If there was nothing a moment ago, there is still nothing, unless there is a record now.
    let seen = (existing.is_none() && looked.elapsed() < STALE).then_some(seen);
    let planned = match run.plan_again(&ready, seen).await {
        Ok(planned) => planned,
        Err(error) => {
            lock.abandon();
            return Err(error);
        }
    };
    for (role, text) in &run.user_data {
        // Store the data as it is now, so that nodes that join later get the same.
        replace(&run.dir().user_data(role), text.as_bytes(), 0o600)?;
    }
    run.carry_out(&ready, planned, lock, interrupt, began).await
}

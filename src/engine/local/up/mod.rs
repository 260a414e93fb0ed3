//! `up` and `start`: look, plan and carry out. On failure, everything that was made is removed.

mod carry_out;
mod changes;
mod look;
mod pending;
mod ready;
mod run;
mod saved;
mod survey;

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kvmc_images::Store;
use kvmc_netns::Links;

use self::changes::check_unchanged;
pub(super) use self::changes::{check_removal, check_same, removed};
pub(super) use self::pending::pending;
pub(super) use self::run::Target;
use self::run::{Run, UNCHANGED, unless_interrupted};
use self::saved::{SavedOptions, SavedPlan, Untold};
use self::survey::Survey;
use super::{Local, faults};
use crate::engine::{Consent, Lifecycle, StartOptions, UpRequest, until_unchanged};
use crate::hint::add_hint;
use crate::image::PullOptions;
use crate::interrupt::Interrupt;
use crate::model::{PlanReport, UpReport};
use crate::network::free_subnet;
use crate::plan::{self, Scope};
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
pub(super) async fn plan(
    local: &Local,
    mut request: UpRequest,
    out: Option<&Path>,
) -> Result<PlanReport> {
    if local.load()?.is_some_and(|r| r.phase == Phase::Removing) {
        return Err(local.half_removed());
    }
    // A plan removes nothing.
    request.start.consent = Consent::All;
    let settings = request.settings.clone();
    let options = SavedOptions::of(&request.start, &request.pull);
    let (target, existing) = target(local, request).await?;
    let (spec, project, insists) = (target.spec.clone(), target.project.clone(), target.insists);
    let links = Links::open()?;
    let run = Run::new(local, &links, target, existing.as_ref(), false)?;
    let mut survey = run.survey().await?;
    run.refuse_taken(&mut survey.probe).await?;
    let steps = plan::up(&survey.record, &survey.seen, &run.start.scope);
    // `up` gives the nodes fewer vcpus then than they are planned with.
    if steps.iter().any(|step| step.starts().is_some()) {
        run.say_accelerator(&survey.record);
    }
    let report = run.told(&survey, |key| {
        let source = settings.source(key);
        source.is_asked().then(|| source.to_string())
    });
    if let Some(out) = out {
        let record = existing.as_ref().map(ClusterRecord::fingerprint);
        let plan = SavedPlan::new(record, spec, project, insists, options, report.clone());
        plan.write(out)?;
    }
    Ok(report)
}

/// See [`Lifecycle::carry_out`].
pub(super) async fn carry_out_plan(
    local: &Local,
    file: &Path,
    mut pull: PullOptions,
    mut options: StartOptions,
) -> Result<UpReport> {
    let plan = SavedPlan::read(file, local)?;
    plan.options.add_to(&mut options, &mut pull);
    let existing = local.load()?;
    let expects = Some(plan.record.clone());
    saved::check_expected(expects.as_ref(), existing.as_ref())?;
    if existing.is_none() {
        refuse_remains(local).await?;
    }
    let target = |consent: Consent| Target {
        spec: plan.spec.clone(),
        insists: plan.insists,
        project: plan.project.clone(),
        pull,
        start: StartOptions {
            consent,
            ..options.clone()
        },
        verb: "up",
        expects: expects.clone(),
    };
    let links = Links::open()?;
    // The look below this one tells of everything.
    let untold = Local {
        progress: Rc::new(Untold),
        ..local.clone()
    };
    let run = Run::new(
        &untold,
        &links,
        target(Consent::All),
        existing.as_ref(),
        false,
    )?;
    let survey = run.survey().await?;
    plan.check_same(&run.told(&survey, |_| None))?;
    bring_up(local, target(options.consent.clone()), existing).await
}

/// See [`Lifecycle::start`].
pub(super) async fn start(
    local: &Local,
    nodes: &[String],
    options: StartOptions,
) -> Result<UpReport> {
    until_unchanged(async || start_once(local, nodes, options.clone()).await).await
}

async fn start_once(
    local: &Local,
    nodes: &[String],
    mut options: StartOptions,
) -> Result<UpReport> {
    let record = local.require()?;
    if record.phase == Phase::Removing {
        return Err(local.half_removed());
    }
    if !nodes.is_empty() {
        let names = record.selector().select(nodes)?;
        options.scope = Scope::Nodes(names.into_iter().map(str::to_owned).collect());
    }
    let spec = record.spec.clone();
    change(local, record, spec, options, "start").await
}

/// Brings an existing cluster to another specification.
///
/// # Errors
/// See [`bring_up`].
pub(super) async fn change(
    local: &Local,
    record: ClusterRecord,
    spec: ClusterSpec,
    options: StartOptions,
    verb: &'static str,
) -> Result<UpReport> {
    let target = Target {
        spec,
        insists: true,
        project: record.project.clone(),
        pull: PullOptions::default(),
        start: options,
        verb,
        expects: None,
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
        verb: "up",
        expects: None,
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
    let taking = Lock::take(run.dir(), run.verb, local.wait);
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
    let carried_out = run.carry_out(&ready, planned, lock, interrupt, began);
    let mut report = carried_out.await?;
    if let Some(record) = local.load()? {
        report.faults = faults::now(&record, run.dir(), None).await;
    }
    Ok(report)
}

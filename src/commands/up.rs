//! `up` and `start`.

mod ready;
mod report;
mod survey;
mod under_lock;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::Store;
use kvmc_netns::Links;

use self::report::{Interrupted, interrupted, print_plan};
use self::survey::{Case, Survey, must_build};
use super::Scene;
use crate::cli::{Flags, PullFlags, StartFlags};
use crate::cluster::{self, traces};
use crate::host::{self, Finding, Needs, choose};
use crate::image::{Asked, Images, Wanted, check_cluster_intact};
use crate::interrupt::Interrupt;
use crate::model::Accelerator;
use crate::network;
use crate::network::Probe;
use crate::node::read_user_data;
use crate::output;
use crate::spec::{AUTO, ClusterSpec, Key, Settings, check};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, replace};

/// After this long the host is looked at again: others change their firewalls as they like.
const STALE: Duration = Duration::from_secs(2);
/// What is said of a cluster when nothing of it was touched.
const AS_IT_WAS: &str = "the cluster is as it was";

pub(super) async fn up(
    scene: &Scene,
    flags: &Flags,
    start: &StartFlags,
    pull: &PullFlags,
    dry_run: bool,
) -> Result<ExitCode> {
    let mut settings = scene.settings(flags)?;
    let mut spec = check(&settings)?;
    let dir = scene.state.cluster(&spec.name);
    let existing = ClusterRecord::load(&dir)?;
    if existing
        .as_ref()
        .is_some_and(|r| r.phase == Phase::Removing)
    {
        if dry_run {
            bail!(
                "cluster `{}` is half removed; `kvmc down` goes on with that",
                spec.name
            );
        }
        output::talk(&format!(
            "cluster `{}` is half removed; first the rest of it goes",
            spec.name
        ));
        let gone = super::down::run(scene, false).await?;
        if gone != ExitCode::SUCCESS {
            return Ok(gone);
        }
        return Box::pin(up(scene, flags, start, pull, dry_run)).await;
    }
    if existing.is_none() {
        refuse_remains(scene, &dir).await?;
    }
    if settings.value(Key::Subnet) == AUTO {
        let subnet = match &existing {
            Some(record) => record.spec.subnet,
            None => network::free_subnet(&spec, &dir, &Links::open()?).await?,
        };
        settings.settle(Key::Subnet, subnet.to_string());
        spec = check(&settings)?;
    }
    if let Some(record) = &existing {
        check_unchanged(record, &spec, &settings)?;
    }
    let here = std::env::current_dir().context("this folder is gone")?;
    let asked = Wish {
        spec,
        project: here,
        pull: pull.asked(),
        dry_run,
    };
    bring_up(scene, asked, &dir, existing, start).await
}

pub(super) async fn start(scene: &Scene, start: &StartFlags) -> Result<ExitCode> {
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let record = ClusterRecord::require(&dir, &name)?;
    if record.phase == Phase::Removing {
        bail!("cluster `{name}` is half removed; `kvmc down` goes on with that");
    }
    let asked = Wish {
        spec: record.spec.clone(),
        project: record.project.clone(),
        pull: Asked::default(),
        dry_run: false,
    };
    bring_up(scene, asked, &dir, Some(record), start).await
}

/// What is asked for.
pub(super) struct Wish {
    pub(super) spec: ClusterSpec,
    /// The folder for the files of Ansible and ssh.
    pub(super) project: PathBuf,
    pub(super) pull: Asked,
    /// Show the steps alone.
    pub(super) dry_run: bool,
}

/// Without a record a new cluster would be made over what is left of the old one.
async fn refuse_remains(scene: &Scene, dir: &ClusterDir) -> Result<()> {
    let links = Links::open()?;
    let name = dir.name();
    let remains = traces(&scene.state, &links).await?.remove(&name);
    // Unless it is being made or removed at this moment, by one that holds the lock.
    if let Some(remains) = remains
        && Lock::holder(dir).is_none()
        && ClusterRecord::load(dir)?.is_none()
    {
        bail!("there is no record of cluster `{name}`, but {remains}; `kvmc down` removes that");
    }
    Ok(())
}

/// What a cluster is made of cannot change under it.
fn check_unchanged(record: &ClusterRecord, spec: &ClusterSpec, settings: &Settings) -> Result<()> {
    let mut same = spec.clone();
    same.masters.count = record.spec.masters.count;
    same.workers.count = record.spec.workers.count;
    same.load_balancers.count = record.spec.load_balancers.count;
    same.accel = record.spec.accel;
    same.masters.restart = record.spec.masters.restart;
    same.workers.restart = record.spec.workers.restart;
    same.load_balancers.restart = record.spec.load_balancers.restart;
    same.forwards.clone_from(&record.spec.forwards);
    same.dns.records.clone_from(&record.spec.dns.records);
    if same == record.spec {
        return Ok(());
    }
    let changed: Vec<_> = crate::spec::Key::ALL
        .into_iter()
        .filter(|k| settings.source(*k).is_asked())
        .map(|k| {
            format!(
                "{} = {} (from {})",
                k.name(),
                settings.value(k),
                settings.source(k)
            )
        })
        .collect();
    bail!(
        "cluster `{}` exists with other settings, and only its number of nodes can grow; asked for now: {}; `kvmc down` first for a new one",
        spec.name,
        changed.join(", ")
    )
}

/// Brings a cluster up to what is asked for, or shows how. What it lies on is made ready first, for other
/// clusters too; only then is the cluster's lock taken, and made what is not there.
pub(super) async fn bring_up(
    scene: &Scene,
    asked: Wish,
    dir: &ClusterDir,
    existing: Option<ClusterRecord>,
    start: &StartFlags,
) -> Result<ExitCode> {
    let brought_up = try_bring_up(scene, asked, dir, existing.as_ref(), start).await;
    match brought_up.map_err(|e| e.downcast::<Interrupted>()) {
        Ok(code) => Ok(code),
        Err(Ok(Interrupted(what_now))) => Ok(interrupted(what_now)),
        Err(Err(error)) => Err(error),
    }
}

async fn try_bring_up(
    scene: &Scene,
    asked: Wish,
    dir: &ClusterDir,
    existing: Option<&ClusterRecord>,
    start: &StartFlags,
) -> Result<ExitCode> {
    let began = Instant::now();
    let Basis {
        wanted,
        user_data,
        accelerator,
    } = choose_basis(scene, &asked, existing)?;
    let links = &Links::open()?;
    let case = Case {
        scene,
        dir,
        existing,
        start,
        links,
    };
    let Wish { spec, dry_run, .. } = asked;
    let project = existing.map_or(asked.project, |r| r.project.clone());
    let surveyed = case.survey(&wanted, spec, &accelerator, project).await?;
    let takes_long = surveyed.takes_long(&wanted);
    let Survey {
        record,
        found,
        seen,
        looked,
        mut probe,
        missing,
        unprepared,
    } = surveyed;
    // Its answers are waited for before anything that takes long; else that time is of use.
    if dry_run || takes_long {
        refuse_taken(&mut probe, dir, links).await?;
    }
    if dry_run {
        let steps = cluster::steps(&record, &seen);
        return Ok(print_plan(&steps, &wanted.to_make(), &unprepared, &missing));
    }
    let _found = found.hold(&Store::open(scene.state.root()))?;
    let mut interrupt = Interrupt::listen()?;
    let ready = case
        .make_ready(wanted, record, user_data.is_some(), &mut interrupt)
        .await?;
    refuse_taken(&mut probe, dir, links).await?;
    let taking = Lock::take(dir, "up", scene.wait);
    let lock = unless_told(&mut interrupt, AS_IT_WAS, taking).await??;
    // Where there was nothing a moment ago there is nothing now, unless there is a record.
    let seen = (existing.is_none() && looked.elapsed() < STALE).then_some(seen);
    let planned = match case.plan_again(&ready, seen).await {
        Ok(planned) => planned,
        Err(error) => {
            lock.abandon();
            return Err(error);
        }
    };
    if let Some(text) = user_data {
        // As it is now: nodes that join later get the same.
        replace(&dir.user_data(), text.as_bytes(), 0o600)?;
    }
    case.carry_out(&ready, planned, lock, interrupt, began)
        .await
}

/// What is known before anything of the host's network is looked at.
struct Basis {
    wanted: Wanted,
    user_data: Option<String>,
    accelerator: Accelerator,
}

fn choose_basis(scene: &Scene, asked: &Wish, existing: Option<&ClusterRecord>) -> Result<Basis> {
    let spec = &asked.spec;
    if let Some(record) = existing {
        network::check_namespace(record)?;
        check_cluster_intact(&scene.state, record)?;
    }
    let store = Store::open(scene.state.root());
    let wanted = Wanted::look(spec, existing, &store, asked.pull)?;
    let user_data = match (&spec.image.user_data, existing) {
        (Some(path), None) => Some(read_user_data(path)?),
        _ => None,
    };
    check_programs(spec, must_build(&wanted))?;
    let accelerator = choose(&scene.state, spec.accel, spec.architecture, !asked.dry_run)?;
    Ok(Basis {
        wanted,
        user_data,
        accelerator,
    })
}

/// What `work` gives, unless it is told to stop first, which leaves what the words say.
async fn unless_told<T>(
    interrupt: &mut Interrupt,
    what_now: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    tokio::select! {
        done = work => Ok(done),
        () = interrupt.wait() => Err(Interrupted(what_now)),
    }
}

async fn design_again(
    record: ClusterRecord,
    images: &Images,
    existing: Option<&ClusterRecord>,
    dir: &ClusterDir,
    links: &Links,
) -> Result<ClusterRecord> {
    cluster::design(
        record.spec,
        &images.picks(),
        record.accelerator,
        record.project,
        dir,
        existing,
        links,
    )
    .await
}

fn check_programs(spec: &ClusterSpec, build: bool) -> Result<()> {
    fail_on(&host::basics(&Needs {
        architecture: spec.architecture,
        build,
    }))
}

async fn refuse_taken(probe: &mut Option<Probe>, dir: &ClusterDir, links: &Links) -> Result<()> {
    match probe.take() {
        Some(probe) => probe.refuse_taken(dir, links).await,
        None => Ok(()),
    }
}

/// Fails with all that is missing and how to get it.
///
/// # Errors
/// That.
pub(super) fn fail_on(checks: &[host::Check]) -> Result<()> {
    let missing: Vec<_> = checks
        .iter()
        .filter_map(|c| match &c.finding {
            Finding::Missing { what, cure, .. } => Some(format!("{what}; {cure}")),
            _ => None,
        })
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("{}", missing.join("\n       "))
    }
}

//! `up` and `start`.

mod report;
mod survey;

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvmc_images::{Boot, Store};
use kvmc_netns::Links;

use self::report::{finish, interrupted, print_plan, say_accelerator};
use self::survey::{Case, Survey, must_build};
use super::Scene;
use crate::cli::{Flags, PullFlags, StartFlags};
use crate::cluster::{self, Ground, Interrupt, Probe, Progress, Warm, Work, traces};
use crate::host::{self, Finding, Needs, choose};
use crate::image::{Asked, Images, Wanted, check_cluster_intact};
use crate::node::{KeyPool, read_user_data, uefi};
use crate::output::{self, Nodes};
use crate::plan::{Seen, Step};
use crate::spec::{AUTO, ClusterSpec, Key, Settings, check};
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, replace};
use crate::warm;

/// After this long the host is looked at again: others change their firewalls as they like.
const STALE: Duration = Duration::from_secs(2);

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
            None => cluster::free_subnet(&spec, &dir, &Links::open()?).await?,
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

pub(super) async fn bring_up(
    scene: &Scene,
    asked: Wish,
    dir: &ClusterDir,
    existing: Option<ClusterRecord>,
    start: &StartFlags,
) -> Result<ExitCode> {
    let Wish {
        spec,
        project,
        pull,
        dry_run,
    } = asked;
    let began = Instant::now();
    if let Some(record) = &existing {
        cluster::check_namespace(record)?;
    }
    let store = Store::open(scene.state.root());
    if let Some(record) = &existing {
        check_cluster_intact(&scene.state, record)?;
    }
    let wanted = Wanted::look(&spec, existing.as_ref(), &store, pull)?;
    let user_data = match (&spec.image.user_data, &existing) {
        (Some(path), None) => Some(read_user_data(path)?),
        _ => None,
    };
    check_programs(&spec, must_build(&wanted))?;
    let accelerator = choose(&scene.state, spec.accel, spec.architecture, !dry_run)?;
    let links = Links::open()?;
    let project = match &existing {
        Some(record) => record.project.clone(),
        None => project,
    };
    let case = Case {
        scene,
        dir,
        existing: existing.as_ref(),
        start,
        links: &links,
    };
    let surveyed = case.survey(&wanted, spec, &accelerator, project).await?;
    let Survey {
        record,
        found,
        seen,
        looked,
        mut probe,
        missing,
        unprepared,
    } = surveyed;
    let takes_long = [wanted.to_make().len(), missing.len(), unprepared.len()] != [0; 3];
    // Its answers are waited for before anything that takes long; else that time is of use.
    if dry_run || takes_long {
        refuse_taken(&mut probe, dir, &links).await?;
    }
    if dry_run {
        let steps = cluster::steps(&record, &seen);
        return Ok(print_plan(&steps, &wanted.to_make(), &unprepared, &missing));
    }
    let frozen = warm::Store::open(scene.state.root());
    let _found = found.hold(&store)?;
    let mut interrupt = Interrupt::listen()?;
    let obtained = tokio::select! {
        images = wanted.obtain(&store) => images,
        () = interrupt.wait() => Err(anyhow::anyhow!("interrupted")),
    };
    let images = match obtained {
        Err(_) if interrupt.came() => {
            return Ok(interrupted("no image was made, and no cluster"));
        }
        images => images?,
    };
    let nodes = Rc::new(Nodes::new());
    let progress: Rc<dyn Progress> = Rc::clone(&nodes) as Rc<dyn Progress>;
    let images = if start.cold {
        images
    } else {
        tokio::select! {
            images = cluster::prepare_images(images, &store, &frozen, existing.as_ref(), &accelerator, &progress) => images,
            () = interrupt.wait() => {
                nodes.end();
                return Ok(interrupted("the cluster is as it was"));
            }
        }
    };
    let _held = images.hold(&store)?;
    let record = design_again(record, &images, existing.as_ref(), dir, &links).await?;
    cluster::check_disks(&record, &images)?;
    check_boot(&record, &images, &store, user_data.is_some())?;
    let keys = KeyPool::open(scene.state.root());
    let warm = if start.cold {
        Warm::none(frozen)
    } else {
        let before = existing.as_ref();
        tokio::select! {
            warm = cluster::prepare(frozen, &record, before, &images, dir, &keys, &progress) => warm?,
            () = interrupt.wait() => {
                nodes.end();
                return Ok(interrupted("the cluster is as it was"));
            }
        }
    };
    refuse_taken(&mut probe, dir, &links).await?;
    let lock = tokio::select! {
        lock = Lock::take(dir, "up", scene.wait) => lock?,
        () = interrupt.wait() => return Ok(interrupted("the cluster is as it was")),
    };
    // Where there was nothing a moment ago there is nothing now, unless there is a record.
    let seen = (existing.is_none() && looked.elapsed() < STALE).then_some(seen);
    let planned = plan_again(record, &images, &warm, dir, &links, seen).await;
    let (record, is_new, steps) = match planned {
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
    let timeout =
        Duration::from_secs(
            start
                .timeout
                .unwrap_or(if accelerator.is_kvm() { 300 } else { 900 }),
        );
    let upped = cluster::up(Work {
        record: record.clone(),
        is_new,
        steps,
        ground: Ground {
            images: &images,
            warm: &warm,
            keys: &keys,
            dir,
            links: &links,
            progress: &progress,
        },
        lock,
        timeout,
        interrupt,
    })
    .await?;
    nodes.end();
    finish(&record, upped, began)
}

/// The record, whether it is of a new cluster, and the steps to it, now that nobody else changes it.
async fn plan_again(
    record: ClusterRecord,
    images: &Images,
    warm: &Warm,
    dir: &ClusterDir,
    links: &Links,
    seen: Option<Seen>,
) -> Result<(ClusterRecord, bool, Vec<Step>)> {
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
    let mut record = design_again(record, images, existing.as_ref(), dir, links).await?;
    warm.assign(&mut record, existing.as_ref());
    let seen = match seen.filter(|_| existing.is_none()) {
        Some(seen) => seen,
        None => cluster::look(&record, existing.as_ref(), dir, links).await?,
    };
    let steps = cluster::steps(&record, &seen);
    Ok((record, existing.is_none(), steps))
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

/// What can be said of the images only when they are there.
fn check_boot(
    record: &ClusterRecord,
    images: &Images,
    store: &Store,
    has_user_data: bool,
) -> Result<()> {
    let mut has_cloud_init = false;
    for node in &record.nodes {
        let image = images.of(record, node)?;
        has_cloud_init |= store.has_cloud_init(image);
        if image.boot == Boot::Uefi {
            uefi(image.architecture)?;
        }
    }
    if has_user_data && !has_cloud_init {
        bail!(
            "user_data: no image of this cluster has cloud-init, so nothing would read it; choose one with --image"
        );
    }
    Ok(())
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

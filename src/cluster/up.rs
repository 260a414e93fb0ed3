//! `up` and `start`: look, plan, carry out; what was made for the cluster is taken back on failure.

use std::collections::BTreeSet;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use kvmc_netns::Links;

use super::stop::process;
use super::undo::Undo;
use super::warm::Warm;
use super::{artifacts, boot};
use crate::failpoint::failpoint;
use crate::image::Images;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request};
use crate::model::Progress;
use crate::network;
use crate::network::Probe;
use crate::network::forwarding::{self, Family};
use crate::node::{Identity, KeyPool, Secrets, clone_disk, find_qemu, write_seed};
use crate::plan::{Seen, Step, plan};
use crate::state::{
    ClusterDir, ClusterRecord, Lock, NetworkRecord, Phase, private_dir, read_json, replace_json,
};

/// How `up` went.
#[derive(Debug)]
pub(crate) enum Upped {
    /// To its end.
    Done {
        /// Nodes that were started by this run.
        started: Vec<String>,
        /// Nodes that did not become ready, each with the reason.
        failed: Vec<(String, String)>,
    },
    /// It was told to stop.
    Interrupted {
        /// Nothing is left of what this run made.
        taken_back: bool,
    },
}

/// Refuses what would hurt, before anything is made: a range or bridge that is taken, files of the
/// user's in the way, a folder too deep.
///
/// # Errors
/// The first thing in the way, with what to do.
pub(crate) async fn preflight(
    record: &ClusterRecord,
    dir: &ClusterDir,
    images: &Images,
    existing: Option<&ClusterRecord>,
    links: &Links,
) -> Result<Probe> {
    dir.check_sockets(record.nodes.iter().map(|n| n.name.as_str()))?;
    check_disks(record, images)?;
    let on_host = existing.is_some_and(|r| r.phase != Phase::Stopped);
    let mut new = Vec::new();
    for network in record.networks() {
        let ours = match links.find(&network.bridge).await? {
            Some(link) => on_host && link.mac == Some(network.mac),
            None => false,
        };
        if !ours {
            network::check_range(network, dir, existing.is_none(), links).await?;
            network::check_ipv6(network, links).await?;
            kvmc_netns::dhcp::Server::check_free(&network.bridge)?;
            kvmc_netns::dns::Server::check_free(network.gateway.into())?;
            if let Some(gateway) = network.gateway6() {
                kvmc_netns::dns::Server::check_free(gateway.into())?;
            }
            new.push(network.clone());
        }
    }
    let probe = Probe::start(new, links).await?;
    let mine = existing.filter(|_| on_host).map(|r| &r.forwards[..]);
    network::check_ports(&record.forwards, mine.unwrap_or_default(), record, dir)?;
    if existing.is_none() {
        artifacts::check_folder(&record.project)?;
    }
    Ok(probe)
}

/// Refuses disks below the size of their images, of those that are there.
///
/// # Errors
/// The first such node.
pub(crate) fn check_disks(record: &ClusterRecord, images: &Images) -> Result<()> {
    for node in &record.nodes {
        // One that is still to be made is looked at when it is there.
        if let Ok(image) = images.of(record, node)
            && node.disk.0 < image.virtual_size
        {
            bail!(
                "disk: {} for {} is smaller than its image {} ({} MiB); ask for more with --disk",
                node.disk,
                node.name,
                image.name,
                image.virtual_size.div_ceil(1 << 20)
            );
        }
    }
    Ok(())
}

/// What of the record is there.
///
/// # Errors
/// When the host cannot be looked at.
pub(crate) async fn look(
    record: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    dir: &ClusterDir,
    links: &Links,
) -> Result<Seen> {
    let net = network::look(record, links).await?;
    let secrets = read_json::<Secrets>(&dir.secrets())?;
    let has_keys = |s: &Secrets| record.nodes.iter().all(|n| s.hosts.contains_key(&n.name));
    let names = |fits: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        record
            .nodes
            .iter()
            .map(|n| n.name.clone())
            .filter(|n| fits(n))
            .collect()
    };
    Ok(Seen {
        recorded: existing.is_some_and(|r| {
            r.nodes == record.nodes
                && r.forwards == record.forwards
                && r.spec == record.spec
                && r.phase == Phase::Up
        }) && secrets.as_ref().is_some_and(has_keys),
        forwarding: net.forwarding,
        forwarding6: net.forwarding6,
        bridges: net.bridges,
        tables: record
            .networks()
            .map(|n| n.table.clone())
            .filter(|t| !net.lost_tables.contains(t))
            .collect(),
        accepts: net.accepts,
        obstacles: net.obstacles,
        keeper: Keeper::of(dir, &record.spec.name).answers().await,
        names_untold: !network::names::are_known(record),
        // A keeper that is new begins with what the cluster had, whatever has become of the ports. Of one
        // that was left half-way nobody knows what the keeper has heard.
        forwards: existing
            .filter(|r| r.phase == Phase::Up)
            .map(|r| r.forwards.clone())
            .unwrap_or_default(),
        disks: names(&|n| dir.node(n).disk().exists()),
        running: record
            .nodes
            .iter()
            .filter(|n| process(dir, &n.name, &n.uuid).is_some())
            .map(|n| n.name.clone())
            .collect(),
    })
}

/// Writes down the QEMUs of ours that run and never were: who started them was killed in between. Without
/// that nobody would attend them.
///
/// # Errors
/// The system's, with the path.
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

/// The steps to be taken.
pub(crate) fn steps(record: &ClusterRecord, seen: &Seen) -> Vec<Step> {
    plan(record, seen)
}

/// All that `up` works with.
pub(crate) struct Work<'a> {
    /// The cluster as it shall be.
    pub(crate) record: ClusterRecord,
    /// Nothing of it is there yet, so nothing is to stay when it fails.
    pub(crate) is_new: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) ground: Ground<'a>,
    /// Held to the end.
    pub(crate) lock: Lock,
    /// What each node has to become ready.
    pub(crate) timeout: std::time::Duration,
    pub(crate) interrupt: Interrupt,
}

/// What a cluster is built with and on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) images: &'a Images,
    /// The frozen machines that nodes wake from.
    pub(crate) warm: &'a Warm,
    pub(crate) keys: &'a KeyPool,
    pub(crate) dir: &'a ClusterDir,
    pub(crate) links: &'a Links,
    pub(crate) progress: &'a Rc<dyn Progress>,
}

/// Carries out the plan under the cluster's lock. Interrupted before the nodes boot, it leaves nothing
/// of a new cluster, as when it fails; later, what there is stays.
///
/// # Errors
/// A step of the cluster as a whole; all that this run made of it is gone again then. A node that
/// fails is no such error: it is in the answer.
pub(crate) async fn up(work: Work<'_>) -> Result<Upped> {
    let Work {
        mut record,
        is_new,
        steps,
        ground,
        lock: _lock,
        timeout,
        mut interrupt,
    } = work;
    let Ground { dir, progress, .. } = ground;
    let mut undo = Undo::default();
    let before = ClusterRecord::load(dir)?;
    match before {
        None => {
            let dir = dir.clone();
            undo.push("the cluster's folder", move || async move {
                super::down::remove_folder(&dir)
            });
        }
        // What of it ran before runs on, so only what was stopped is said to be so again.
        Some(mut before) if before.phase == Phase::Stopped => {
            let dir = dir.clone();
            undo.push("the record", move || async move { before.save(&dir) });
        }
        Some(_) => {}
    }
    let made = async {
        private_dir(dir.path())?;
        adopt(&record, dir)?;
        for step in &steps {
            if interrupt.has_come().await {
                return Ok(false);
            }
            carry_out(step, &mut record, is_new, ground, &mut undo)
                .await
                .with_context(|| format!("failed to {step}"))?;
        }
        // Another cluster that went between the look and the record took this one for not there.
        forwarding::enable(&dir.state(), Family::V4)?;
        if forwarding::has_ipv6(&record) {
            forwarding::enable(&dir.state(), Family::V6)?;
        }
        anyhow::Ok(!interrupt.has_come().await)
    };
    match made.await {
        Ok(true) => {}
        Ok(false) => {
            let taken_back = is_new && take_back(undo, progress).await;
            return Ok(Upped::Interrupted { taken_back });
        }
        Err(error) => {
            take_back(undo, progress).await;
            return Err(error);
        }
    }
    let to_start: Vec<_> = steps
        .iter()
        .filter_map(|s| match s {
            Step::StartNode { node } => Some(node.clone()),
            _ => None,
        })
        .collect();
    let failed = tokio::select! {
        failed = boot::boot(&record, &to_start, ground, timeout) => failed?,
        () = interrupt.wait() => return Ok(Upped::Interrupted { taken_back: false }),
    };
    record.phase = Phase::Up;
    record.save(dir)?;
    failpoint!("up.done");
    Ok(Upped::Done {
        started: to_start,
        failed,
    })
}

/// True when nothing went wrong with it.
async fn take_back(undo: Undo, progress: &Rc<dyn Progress>) -> bool {
    progress.say("taking back what was made");
    let left = undo.run().await;
    for error in &left {
        progress.say(&format!("{error:#}"));
    }
    left.is_empty()
}

async fn carry_out(
    step: &Step,
    record: &mut ClusterRecord,
    is_new: bool,
    ground: Ground<'_>,
    undo: &mut Undo,
) -> Result<()> {
    let Ground {
        images,
        warm,
        keys,
        dir,
        progress,
        ..
    } = ground;
    let links = ground.links.clone();
    match step {
        Step::Record => {
            record.phase = Phase::Starting;
            record.save(dir)?;
            failpoint!("up.record");
            let secrets = secrets(record, dir, keys)?;
            if is_new {
                let dir = dir.clone();
                undo.push("the files for Ansible and ssh", move || async move {
                    artifacts::remove(None, &dir)
                });
            }
            artifacts::write(record, &secrets, dir)?;
            failpoint!("up.files");
            // Names may have come or gone while all nodes run.
            let keeper = Keeper::of(dir, &record.spec.name);
            if keeper.is_running() {
                keeper.ask(&Request::Sync).await?;
            }
            Ok(())
        }
        Step::EnableForwarding | Step::EnableForwarding6 => {
            undo.push("forwarding", {
                let state = dir.state();
                let (name, was_off) = (dir.name(), record.network.forwarding_was_off);
                move || async move { forwarding::release(&state, &name, was_off).map(drop) }
            });
            let family = match step {
                Step::EnableForwarding6 => Family::V6,
                _ => Family::V4,
            };
            forwarding::enable(&dir.state(), family)?;
            failpoint!("up.forwarding");
            Ok(())
        }
        Step::CreateBridge { name, .. } => {
            let network = network_of(record, |n| n.bridge == *name)?;
            undo.push(format!("the bridge {name}"), {
                let network = network.clone();
                move || async move { network::bridge::remove(&network, &links).await }
            });
            let links = Links::open()?;
            network::bridge::make(network, dir, &links).await?;
            failpoint!("up.bridge");
            Ok(())
        }
        Step::ApplyNat { table } => {
            let nat = network::rules::table(record, network_of(record, |n| n.table == *table)?);
            undo.push("the NAT", {
                let nat = nat.clone();
                move || async move { Ok(nat.remove().map(drop)?) }
            });
            nat.apply()?;
            failpoint!("up.nat");
            Ok(())
        }
        Step::Forward { .. } => {
            // Undone with the keeper and the table, or by `forward rm` where those stay.
            let keeper = Keeper::of(dir, &record.spec.name);
            keeper.ask(&Request::Forward).await.map(drop)
        }
        Step::Accept(accept) => {
            undo.push("the rules among others'", {
                let (record, dir) = (record.clone(), dir.clone());
                move || async move { all_of(network::accepts::remove(&record, &dir)) }
            });
            network::accepts::make(record, dir, accept)
        }
        Step::StartKeeper => {
            let keeper = Keeper::of(dir, &record.spec.name);
            undo.push("the keeper", {
                let keeper = keeper.clone();
                move || async move { keeper.end().await.map(drop) }
            });
            keeper.ensure().await?;
            failpoint!("up.keeper");
            Ok(())
        }
        Step::NamesOnHost { .. } => {
            record.network.resolved = true;
            record.save(dir)?;
            undo.push("the cluster's names on the host", {
                let network = record.network.clone();
                move || async move { network::names::remove(&network) }
            });
            // Without them, ssh_config still leads to every node.
            if let Err(e) = network::names::make(record) {
                progress.say(&format!("{e:#}"));
            }
            Ok(())
        }
        Step::CloneDisk { node } => {
            let node_record = record.node(node)?;
            let image = images.of(record, node_record)?;
            let backing = warm.store.backing(node_record, image);
            let nearest = backing
                .first()
                .with_context(|| format!("the image {} has no disk", image.name))?;
            let wakes = node_record
                .frozen
                .as_deref()
                .is_some_and(|id| warm.memory(id).is_some());
            let is_new = clone_disk(node_record, &dir.node(node), nearest, wakes)?;
            if node_record.seeded && (is_new || !dir.node(node).seed().exists()) {
                let secrets =
                    read_json::<Secrets>(&dir.secrets())?.context("secrets.json is gone")?;
                let user_data = std::fs::read_to_string(dir.user_data()).ok();
                let domain = record.spec.domain();
                write_seed(
                    &domain,
                    node_record,
                    &dir.node(node),
                    &secrets,
                    user_data.as_deref(),
                )?;
            }
            failpoint!("up.disk");
            progress.stage(node, crate::model::Stage::Cloned, "");
            Ok(())
        }
        Step::StartNode { .. } => Ok(()),
    }
}

/// The first error, with the others behind it.
fn all_of(errors: Vec<anyhow::Error>) -> Result<()> {
    let mut errors = errors.into_iter();
    match errors.next() {
        None => Ok(()),
        Some(first) => Err(errors.fold(first, |all, e| all.context(format!("{e:#}")))),
    }
}

fn network_of(
    record: &ClusterRecord,
    is_it: impl Fn(&NetworkRecord) -> bool,
) -> Result<&NetworkRecord> {
    let found = record.networks().find(|n| is_it(n));
    found.context("a step for a network that is not in the record")
}

/// The cluster's secrets, completed for nodes that are new.
fn secrets(record: &ClusterRecord, dir: &ClusterDir, keys: &KeyPool) -> Result<Secrets> {
    let existing = read_json::<Secrets>(&dir.secrets())?;
    let (secrets, changed) = match existing {
        Some(mut secrets) => {
            let changed = secrets.complete(&record.nodes, keys)?;
            (secrets, changed)
        }
        None => (
            Secrets::generate(&record.spec.name, &record.nodes, keys)?,
            true,
        ),
    };
    if changed {
        replace_json(&dir.secrets(), &secrets, 0o600).context("failed to keep the keys")?;
        failpoint!("up.secrets");
    }
    Ok(secrets)
}

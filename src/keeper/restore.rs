//! Restores all guests of a snapshot, or of a suspended cluster. None runs before all are loaded.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use kvmc_qmp::Client;
use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::attended::{Attended, Restoring};
use super::pause::remove_suspended;
use super::protocol::{Answer, Step};
use super::served::Served;
use super::wire::{say, step};
use crate::model::{EventKind, Stage};
use crate::network::connections;
use crate::node::savestate;
use crate::output;
use crate::snapshot::feed;
use crate::state::{ClusterRecord, Restoration, remove_file};

/// Longest time to load all guests, from when their QEMUs run.
const LOAD: Duration = Duration::from_secs(120);
/// Interval between looks for new QEMUs.
const LOOK: Duration = Duration::from_millis(10);
/// Interval between looks whether a QEMU that waits has ended.
const ENDED: Duration = Duration::from_millis(100);

impl Attended {
    /// Loads the guest's saved state, unless that is done, and returns once all guests run.
    pub(super) async fn load(&self, qmp: &Client, is_done: bool) -> Result<()> {
        let restoring = self.restoring.clone();
        let restoring = restoring.context("there is nothing to restore")?;
        let name = &self.node.name;
        let stream = restoring.folder.join(format!("{name}.stream"));
        // A stream has the guest's pages at most once, and little more.
        let most = self.node.ram.0.saturating_mul(2);
        let loaded = match is_done {
            true => Ok(()),
            false => match feed(&stream, most) {
                Ok(file) => savestate::load_whole(qmp, file).await,
                Err(e) => Err(e),
            },
        };
        let told = loaded.as_ref().map(drop).map_err(|e| format!("{e:#}"));
        let _given_up = restoring.loaded.send((name.clone(), told)).await;
        loaded.context("its state cannot be loaded")?;
        let mut runs = restoring.runs;
        while !*runs.borrow_and_update() {
            tokio::select! {
                changed = runs.changed() => changed.context("the restore was given up")?,
                () = tokio::time::sleep(ENDED) => {
                    anyhow::ensure!(!qmp.is_closed(), "QEMU has ended");
                }
            }
        }
        self.status.reach(name, Stage::Woken, "");
        Ok(())
    }
}

/// Carries out [`super::Request::Restore`], and with `ahead` [`super::Request::TakeOver`].
pub(super) async fn restore(
    served: &std::sync::Arc<Served>,
    ahead: bool,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) {
    let answer = match served.standstill.try_lock() {
        Ok(_alone) => lead(served, ahead, reader, writer).await,
        Err(_) => Err(anyhow::anyhow!("the cluster is being saved or restored")),
    };
    if let Ok(mut restoring) = served.restoring.lock() {
        *restoring = None;
    }
    served.forwards.pass();
    for name in served.status.board().keys() {
        served.status.keep_running(name);
    }
    let answer = match answer {
        Ok(()) => Answer::Done,
        Err(e) => Answer::Failed(format!("{e:#}")),
    };
    let _gone = say(writer, answer).await;
}

async fn lead(
    served: &std::sync::Arc<Served>,
    ahead: bool,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> Result<()> {
    let record = ClusterRecord::load(&served.dir)?.context("the cluster has no record")?;
    let restoration = Restoration::decided(&served.dir)?.context("there is nothing to restore")?;
    let nodes = record.nodes.iter();
    let nodes = nodes.filter(|n| !record.stopped.contains(&n.name));
    let names: BTreeSet<_> = nodes.map(|n| n.name.clone()).collect();
    for name in &names {
        served.status.replace(name);
    }
    let (loaded, told) = mpsc::channel(names.len().max(1));
    let (running, runs) = watch::channel(false);
    if let Ok(mut restoring) = served.restoring.lock() {
        *restoring = Some(Restoring {
            folder: restoration.folder(&served.dir),
            keeps_clock: restoration.keeps_clock,
            ahead,
            loaded,
            runs,
        });
    }
    if ahead {
        served.leave_all().await?;
    }
    // The nodes of before hear of it, and those that come know nothing of these connections.
    served.forwards.cut();
    say(writer, Answer::Done).await?;
    if step(reader).await != Some(Step::Load) {
        bail!("the restore was given up");
    }
    if ahead {
        // A verb that only reads may have made the keeper attend them again.
        for name in &names {
            served.status.replace(name);
        }
        served.leave_all().await?;
    }
    // The nodes of before stand still or have ended, and the others do not run yet.
    let forgetting = tokio::task::spawn_blocking({
        let record = record.clone();
        move || connections::forget(&record)
    });
    let loading = tokio::time::timeout(LOAD, all_loaded(served, names.clone(), told));
    tokio::select! {
        loaded = loading => loaded.context("loading takes too long")??,
        // Without it they wait no longer: a plain restore is possible then.
        _ = step(reader), if ahead => bail!("the restore was given up"),
    }
    say(writer, Answer::Done).await.ok();
    // From here on, the nodes run also without the verb.
    let _verb_is_gone = step(reader).await;
    // The nodes answer what comes by a connection of before with a reset, also where the host still has it.
    if let Err(error) = forgetting.await.unwrap_or_else(|panic| Err(panic.into())) {
        output::error(&error);
    }
    run(served, &names, &restoration).await?;
    running.send_replace(true);
    Ok(())
}

/// Attends the new QEMUs as they come, until all are loaded.
async fn all_loaded(
    served: &std::sync::Arc<Served>,
    mut missing: BTreeSet<String>,
    mut told: mpsc::Receiver<(String, Result<(), String>)>,
) -> Result<()> {
    let mut synced: Option<Instant> = None;
    while !missing.is_empty() {
        if synced.is_none_or(|at| at.elapsed() >= LOOK) {
            served.sync()?;
            synced = Some(Instant::now());
        }
        match tokio::time::timeout(LOOK, told.recv()).await {
            Ok(Some((name, Ok(())))) => drop(missing.remove(&name)),
            Ok(Some((name, Err(why)))) => bail!("{name} cannot be restored: {why}"),
            Ok(None) => bail!("the restore was given up"),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Lets all guests run at once. What they were restored from is no use before: they would be restored a second time
/// by the next verb, if that file stayed.
async fn run(served: &Served, names: &BTreeSet<String>, from: &Restoration) -> Result<()> {
    let clients: Vec<_> = names
        .iter()
        .map(|name| {
            let qmp = served.connections(name)?.qmp;
            Ok((name, qmp.context("QMP is not connected")?))
        })
        .collect::<Result<_>>()?;
    for name in names {
        // A keeper that comes after this one lets them go on.
        fs_err::write(served.dir.node(name).pausing(), "")?;
    }
    remove_suspended(&served.dir)?;
    remove_file(&served.dir.restoring())?;
    let went = clients.iter().map(async |(name, qmp)| {
        let went = qmp.execute(qapi_qmp::cont {}).await;
        went.with_context(|| format!("{name} does not run"))?;
        remove_file(&served.dir.node(name).pausing())
    });
    let went = join_all(went).await;
    let note = from.snapshot.as_deref().unwrap_or_default();
    served.status.event("", EventKind::Restored, note);
    went.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

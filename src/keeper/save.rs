//! Stops all guests at one instant and saves their devices. The verb meanwhile copies their memory, which the keeper
//! does not read. If the verb ends early, the guests go on.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::{join_all, try_join_all};
use kvmc_qmp::{Client, Hold};
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::attended::Connections;
use super::console::HeldConsole;
use super::pause::let_go;
use super::protocol::{Answer, Step};
use super::served::Served;
use super::status::Status;
use super::wire::{say, step};
use crate::model::EventKind;
use crate::node::{Overlay, savestate, tops};
use crate::state::{ClusterDir, ClusterRecord, NodeDir, NodeRecord, remove_file};

/// Longest time for a query to QEMU.
const QEMU: Duration = Duration::from_secs(5);
/// Longest time for a guest to stop. QEMU writes what its disks have in flight.
const STOP: Duration = Duration::from_secs(30);
/// How long an agent may take to answer what it was asked before.
const QUIET: Duration = Duration::from_millis(500);
/// Longest time that guests stand still while the verb does its part.
const STANDING: Duration = Duration::from_secs(120);

/// A guest that is to stand still.
struct Guest {
    name: String,
    cluster: ClusterDir,
    dir: NodeDir,
    qmp: Client,
    agent: Option<Client>,
    stops: Arc<AtomicBool>,
    /// The descriptor set for the state of its devices.
    state: u64,
    overlays: Vec<Overlay>,
}

/// What keeps bytes from a guest while it stands.
type Held = (Vec<Hold>, Vec<HeldConsole>);

/// Carries out [`super::Request::Save`].
pub(super) async fn save(
    served: &Served,
    (overlays, name): (bool, &str),
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) {
    let answer = match served.standstill.try_lock() {
        Ok(_alone) => lead(served, (overlays, name), reader, writer).await,
        Err(_) => Err(anyhow::anyhow!("the cluster is being saved or restored")),
    };
    let answer = match answer {
        Ok(()) => Answer::Done,
        Err(e) => Answer::Failed(format!("{e:#}")),
    };
    let _gone = say(writer, answer).await;
}

async fn lead(
    served: &Served,
    (overlays, name): (bool, &str),
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> Result<()> {
    let record = ClusterRecord::load(&served.dir)?.context("the cluster has no record")?;
    let folder = served.dir.unfinished_snapshot();
    let nodes = record.nodes.iter();
    let nodes = nodes.filter(|node| !record.stopped.contains(&node.name));
    let prepared = join_all(nodes.map(|n| Guest::prepare(served, n, &folder, overlays))).await;
    let (guests, failed): (Vec<_>, Vec<_>) = prepared.into_iter().partition(Result::is_ok);
    let guests: Vec<_> = guests.into_iter().flatten().collect();
    if let Some(Err(error)) = failed.into_iter().next() {
        clean_up(&guests, true).await;
        return Err(error);
    }
    say(writer, Answer::Done).await?;
    if step(reader).await != Some(Step::Stop) {
        clean_up(&guests, true).await;
        bail!("the snapshot was given up");
    }
    let held = hold(served, &guests).await;
    let saved = async {
        stop(&guests).await?;
        // The verb copies the memory from now on.
        say(writer, Answer::Done).await?;
        try_join_all(guests.iter().map(|g| g.save(overlays))).await?;
        say(writer, Answer::Done).await
    };
    let saved = saved.await;
    let next = match &saved {
        // A guest that is suspended must not run again while the verb writes what it goes on from.
        Ok(()) if !overlays => Ok(step(reader).await),
        Ok(()) => tokio::time::timeout(STANDING, step(reader)).await,
        Err(_) => Ok(None),
    };
    if matches!(next, Ok(Some(Step::Quit))) {
        served.status.event("", EventKind::Suspended, "");
        return quit(&guests, &served.status).await;
    }
    let went_on = go_on(&guests).await;
    drop(held);
    let has_failed = saved.is_err();
    clean_up(&guests, has_failed).await;
    saved?;
    went_on?;
    match next {
        Ok(Some(Step::Go)) => say(writer, Answer::Done).await?,
        Ok(_) => bail!("the snapshot was given up"),
        Err(_) => bail!(
            "the guests go on after {} s of standstill",
            STANDING.as_secs()
        ),
    }
    if step(reader).await == Some(Step::Written) {
        served.status.event("", EventKind::Snapshot, name);
    }
    Ok(())
}

impl Guest {
    /// Gives QEMU what it needs to save: a file for its devices' state, and the new images. The guest runs.
    async fn prepare(
        served: &Served,
        node: &NodeRecord,
        folder: &Path,
        overlays: bool,
    ) -> Result<Self> {
        let name = node.name.clone();
        let prepared = async {
            let Connections { qmp, agent, stops } = served.connections(&name)?;
            let qmp = qmp.context("QMP is not connected")?;
            let seen = qmp.request("query-status", json!({}), QEMU).await?;
            let state = seen.get("status").and_then(Value::as_str);
            if state != Some("running") {
                bail!("it does not run, but is {}", state.unwrap_or("unknown"));
            }
            let of_machine = json!({ "path": "/machine", "property": "type" });
            let kind = qmp.request("qom-get", of_machine, QEMU).await?;
            let kind = kind.as_str().unwrap_or_default();
            let kind = kind.strip_suffix("-machine").unwrap_or(kind);
            fs_err::write(folder.join(format!("{name}.kind")), kind)?;
            let file = write_only(&folder.join(format!("{name}.devices")))?;
            let mut guest = Self {
                state: qmp.add_fd(file.into()).await?,
                cluster: served.dir.clone(),
                dir: served.dir.node(&name),
                overlays: Vec::new(),
                name: name.clone(),
                qmp,
                agent,
                stops,
            };
            if overlays && let Err(error) = guest.add_overlays(node).await {
                clean_up(&[guest], true).await;
                return Err(error);
            }
            anyhow::Ok(guest)
        };
        prepared
            .await
            .with_context(|| format!("{name} cannot be saved"))
    }

    async fn add_overlays(&mut self, node: &NodeRecord) -> Result<()> {
        let tops = tops(&self.qmp).await?;
        anyhow::ensure!(
            tops.len() == node.disk_count(),
            "QEMU has another number of disks"
        );
        for (disk, top) in tops.iter().enumerate() {
            let path = self.dir.top_image(node, disk);
            let file = File::options().read(true).write(true).open(&path);
            let file = file.with_context(|| format!("cannot open {}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let overlay = Overlay::open(&self.qmp, top, file, &name).await?;
            self.overlays.push(overlay);
        }
        Ok(())
    }

    /// Saves the devices of the stopped guest, and lets its disks go on in the new images.
    async fn save(&self, overlays: bool) -> Result<()> {
        let saved = async {
            savestate::save_devices(&self.qmp, self.state, !overlays).await?;
            for overlay in &self.overlays {
                overlay.take_over(&self.qmp).await?;
            }
            anyhow::Ok(())
        };
        let saved = saved.await;
        saved.with_context(|| format!("{} cannot be saved", self.name))
    }
}

/// Keeps all bytes from the agents and consoles: a guest would get in two lives what it gets while it stands.
async fn hold(served: &Served, guests: &[Guest]) -> Held {
    let agents = guests.iter().filter_map(|g| g.agent.as_ref());
    let agents = join_all(agents.map(|agent| agent.hold(QUIET))).await;
    let consoles = guests.iter().filter_map(|g| served.console(&g.name).ok());
    (agents, consoles.map(|console| console.hold()).collect())
}

/// Stops all guests, and returns when all stand.
async fn stop(guests: &[Guest]) -> Result<()> {
    for guest in guests {
        fs_err::write(guest.dir.pausing(), "")?;
        guest.stops.store(true, Ordering::Release);
    }
    let stopped = guests.iter().map(async |guest| {
        let stopped = guest.qmp.request("stop", json!({}), STOP).await;
        stopped.with_context(|| format!("{} does not stop", guest.name))
    });
    // All of them are awaited, so that none stops after the others went on.
    let stopped = join_all(stopped).await;
    stopped.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

/// Lets all guests go on, at once.
async fn go_on(guests: &[Guest]) -> Result<()> {
    let went = guests.iter().map(async |guest| {
        let went = let_go(&guest.qmp, &guest.cluster, &guest.dir).await;
        guest.stops.store(false, Ordering::Release);
        went.with_context(|| format!("{} does not go on", guest.name))
    });
    let went = join_all(went).await;
    went.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

/// Ends the QEMUs of guests that are saved whole.
async fn quit(guests: &[Guest], status: &Status) -> Result<()> {
    let ended = guests.iter().map(async |guest| {
        status.stop(&guest.name);
        let ended = guest.qmp.quit().await;
        ended.with_context(|| format!("the QEMU of {} does not end", guest.name))?;
        remove_file(&guest.dir.pausing())
    });
    let ended = join_all(ended).await;
    ended.into_iter().collect::<Result<Vec<_>>>().map(drop)
}

/// Takes back what QEMU was given. With `overlays`, those that did not become a disk's, too.
async fn clean_up(guests: &[Guest], overlays: bool) {
    let cleaned = guests.iter().map(async |guest| {
        let _closed_with_qemu = savestate::remove_set(&guest.qmp, guest.state).await;
        if overlays {
            for overlay in &guest.overlays {
                overlay.close(&guest.qmp).await;
            }
        }
    });
    join_all(cleaned).await;
}

fn write_only(path: &Path) -> Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

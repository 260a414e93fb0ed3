//! The keeper's own life: sockets, requests, and the nodes it attends.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvmc_qmp::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::attend::{Attended, End, Lines};
use super::awake::{GOING_ON, JOURNAL};
use super::client::Keeper;
use super::dns::Names;
use super::forward::Forwards;
use super::lan::{Lan, Reservations};
use super::protocol::{Answer, Request};
use super::respawn::respawn;
use super::restarts::{Restarts, Verdict};
use super::rules;
use super::status::Status;
use super::trim;
use super::vitals;
use crate::host::cores;
use crate::model::Cause;
use crate::model::Stage;
use crate::node::Ended;
use crate::node::{Filling, Identity, KeyPool, fill_keys};
use crate::output;
use crate::state::{ClusterDir, ClusterRecord, read_json, remove_file, replace_json_unsynced};
use crate::warm;

/// A cluster whose nodes are ready and that is up this long is at rest.
const REST: Duration = Duration::from_secs(5);
/// Longest that a guest's agent may take to say that it heard.
const ASK_GUEST: Duration = Duration::from_secs(3);
/// Longest that QEMU may take to say whether it is paused; with [`ASK_GUEST`] it fits in what the CLI
/// waits for an answer.
const ASK_PAUSED: Duration = Duration::from_secs(1);

/// Runs the keeper of a cluster until it is told to end.
///
/// # Errors
/// What keeps it from serving: the record, port 67 or 53, its socket.
pub(crate) async fn run(root: PathBuf, dir: ClusterDir, cluster: String) -> Result<()> {
    // Alone in its session, no terminal's end reaches it. A leader already is as good.
    let _leader_already = nix::unistd::setsid();
    let record = ClusterRecord::require(&dir, &cluster)?;
    replace_json_unsynced(
        &dir.keeper_process(),
        &Identity::of_self(&Keeper::mark(&dir))?,
        0o600,
    )?;
    let status = Status::new(dir.events());
    let lans = (0..record.networks().count())
        .map(|number| Lan::open(&record, number, &dir))
        .collect::<Result<Vec<_>>>()?;
    let (names, name_servers) = Names::open(&record, &dir, status.clone())?;
    let socket = listen(&dir)?;
    let state = Arc::new(State {
        root,
        dir: dir.clone(),
        status: status.clone(),
        reservations: lans.iter().map(|l| l.reservations.clone()).collect(),
        names: names.clone(),
        forwards: Forwards::default(),
        lines: Mutex::default(),
        restarts: Mutex::default(),
        keys: Mutex::default(),
    });
    state.sync()?;
    if let Err(e) = state.forward() {
        // Of a port that somebody took while there was no keeper; the nodes need one all the same.
        output::error(&e);
    }
    tokio::spawn(keep_keys(Arc::clone(&state)));
    tokio::spawn(keep_up(Arc::clone(&state)));
    tokio::spawn(trim::now_and_then());
    tokio::spawn(rules::watch(dir.clone(), cluster, status.clone()));
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for signals")?;
    let serve = async {
        loop {
            match socket.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(answer(stream, Arc::clone(&state)))),
                // Out of descriptors, for instance: better a little later than in a tight loop.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::select! {
        ended = serve_lans(lans, status) => ended,
        ended = names.serve(name_servers) => ended,
        () = serve => Ok(()),
        _ = terminate.recv() => {
            // Nothing of the keeper's outlives it.
            drop(state.keys.lock().map(|mut keys| keys.take()));
            remove_file(&dir.keeper_socket())?;
            remove_file(&dir.keeper_process())
        }
    }
}

/// Ends with the first network that is served no more.
async fn serve_lans(lans: Vec<Lan>, status: Status) -> Result<()> {
    let mut serving = tokio::task::JoinSet::new();
    for lan in lans {
        serving.spawn(lan.run(status.clone()));
    }
    match serving.join_next().await {
        Some(ended) => ended.context("a task of the keeper failed")?,
        None => Ok(()),
    }
}

fn listen(dir: &ClusterDir) -> Result<UnixListener> {
    let path = dir.keeper_socket();
    remove_file(&path)?;
    let socket = UnixListener::bind(&path)
        .with_context(|| format!("failed to listen on {}", path.display()))?;
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

#[derive(Debug)]
struct State {
    /// The state folder, with templates and frozen machines.
    root: PathBuf,
    dir: ClusterDir,
    status: Status,
    reservations: Vec<Reservations>,
    names: Names,
    forwards: Forwards,
    lines: Mutex<BTreeMap<String, watch::Receiver<Lines>>>,
    restarts: Mutex<BTreeMap<String, Restarts>>,
    /// Keys for the cluster after this one.
    keys: Mutex<Option<Filling>>,
}

impl State {
    /// Reads the record again: reservations for all nodes, attendance for those that run.
    fn sync(self: &Arc<Self>) -> Result<()> {
        let Some(record) = ClusterRecord::load(&self.dir)? else {
            return Ok(());
        };
        for reservations in &self.reservations {
            reservations.follow(&record);
        }
        self.names.follow(&record);
        for (position, node) in record.nodes.iter().enumerate() {
            let dir = self.dir.node(&node.name);
            let process = read_json::<Identity>(&dir.process())?;
            let mut lines = self
                .lines
                .lock()
                .map_err(|_| anyhow::anyhow!("a task of the keeper failed"))?;
            let attended = lines
                .get(&node.name)
                .is_some_and(|l| l.has_changed().is_ok());
            let Some(process) = process.filter(|_| !attended) else {
                continue;
            };
            if process.open().is_none() {
                Ended::record_unseen(&dir, node, &process)?;
                continue;
            }
            let (sender, receiver) = watch::channel(Lines::default());
            lines.insert(node.name.clone(), receiver);
            self.status.begin(&node.name, Some(process.number()));
            let attended = Attended {
                domain: record.spec.domain(),
                cluster_dir: self.dir.clone(),
                dir,
                node: node.clone(),
                networks: record.networks().cloned().collect(),
                process: process.clone(),
                rest: GOING_ON.turn(position, &record.accelerator, cores()),
                journal: JOURNAL.turn(position, &record.accelerator, cores()),
                store: warm::Store::open(&self.root),
                status: self.status.clone(),
            };
            let state = Arc::clone(self);
            tokio::spawn(async move {
                let name = attended.node.name.clone();
                match attended.run(sender).await {
                    End::Reset => state.restart(&name, &process).await,
                    End::Ended(cause) => state.after(&name, &process, &cause).await,
                }
            });
        }
        Ok(())
    }

    /// Reads the record again for the forwards.
    fn forward(&self) -> Result<()> {
        match ClusterRecord::load(&self.dir)? {
            Some(record) => self.forwards.follow(&record),
            None => Ok(()),
        }
    }

    /// Starts a node again that has ended by itself, if that is its role's policy.
    async fn after(self: &Arc<Self>, node: &str, process: &Identity, cause: &Cause) {
        let policy = ClusterRecord::load(&self.dir).ok().flatten();
        let policy = policy.and_then(|r| Some(r.spec.role(r.node(node).ok()?.role).restart));
        if !policy.is_some_and(|policy| policy.applies_to(cause)) {
            return;
        }
        let verdict = match self.restarts.lock() {
            Ok(mut all) => all
                .entry(node.to_owned())
                .or_default()
                .ended(Instant::now()),
            Err(_) => return,
        };
        match verdict {
            Verdict::Again(wait) => {
                let note = format!("{cause}; it starts again in {} s", wait.as_secs());
                self.status.note(node, "restarting", &note);
                tokio::time::sleep(wait).await;
                self.restart(node, process).await;
            }
            Verdict::GiveUp(times) => {
                let note = format!(
                    "{cause}; given up after {times} restarts in ten minutes, `kvmc up` starts it"
                );
                self.status.note(node, "given-up", &note);
            }
        }
    }

    /// Boots a node whose QEMU has ended, or whose guest asked for a reset: a woken QEMU has no kernel
    /// to do it with.
    async fn restart(self: &Arc<Self>, node: &str, process: &Identity) {
        let restarted = respawn(&self.root, &self.dir, node, process).await;
        if let Err(e) = restarted.and_then(|()| self.sync()) {
            let note = format!("cannot be booted again: {e:#}; `kvmc up` tries too");
            self.status.note(node, "ended", &note);
        }
    }

    fn lines(&self, node: &str) -> Result<Lines> {
        let lines = self
            .lines
            .lock()
            .map_err(|_| anyhow::anyhow!("a task of the keeper failed"))?;
        let lines = lines
            .get(node)
            .with_context(|| format!("{node} is not attended"))?;
        Ok(lines.borrow().clone())
    }

    /// Both ways at once: an image of the user's may have no agent, ours has no logind.
    async fn power_down(&self, node: &str) -> Result<()> {
        let Lines { qmp, agent } = self.lines(node)?;
        if let Some(qmp) = &qmp {
            wake_paused(qmp).await;
        }
        let by_agent = async {
            let agent = agent.context("the agent is not there")?;
            agent
                .request("shutdown", json!({ "mode": "powerdown" }), ASK_GUEST)
                .await?;
            anyhow::Ok(())
        };
        let by_button = async {
            let qmp = qmp.context("QMP is not there")?;
            qmp.request("system_powerdown", json!({}), ASK_GUEST)
                .await?;
            anyhow::Ok(())
        };
        match tokio::join!(by_agent, by_button) {
            (Err(agent), Err(button)) => {
                Err(agent.context(format!("the power button failed too: {button:#}")))
            }
            _ => Ok(()),
        }
    }

    async fn quit(&self, node: &str) -> Result<()> {
        let qmp = self.lines(node)?.qmp.context("QMP is not there")?;
        Ok(qmp.quit().await?)
    }
}

/// A guest that stands still hears nothing. Out of space it will stand still again, and be made to end.
async fn wake_paused(qmp: &Client) {
    let seen = qmp.request("query-status", json!({}), ASK_PAUSED).await;
    let seen = seen.unwrap_or_default();
    if let Some("paused" | "io-error") = seen.get("status").and_then(Value::as_str) {
        let _told_by_its_end = qmp.request("cont", json!({}), ASK_PAUSED).await;
    }
}

/// Once the nodes are up and at rest, makes keys for the cluster that comes after this one.
async fn keep_keys(state: Arc<State>) {
    loop {
        tokio::time::sleep(REST).await;
        let board = state.status.board();
        if !board.is_empty() && board.values().all(|v| v.stage >= Stage::Ready) {
            let (pool, nodes) = (KeyPool::open(&state.root), board.len());
            let filling = Filling::start(move |wanted| fill_keys(&pool, nodes, wanted));
            if let Ok(mut keys) = state.keys.lock() {
                *keys = Some(filling);
            }
            return;
        }
    }
}

/// Looks how the nodes keep up, for as long as there are any.
async fn keep_up(state: Arc<State>) {
    let pid = |node: &str| {
        let identity = read_json::<Identity>(&state.dir.node(node).process()).ok()??;
        identity.open().map(|_| identity.pid)
    };
    let agent = |node: &str| state.lines(node).ok()?.agent;
    vitals::keep_up(state.status.clone(), pid, agent).await;
}

async fn answer(stream: UnixStream, state: Arc<State>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(reader, 4096));
    if !matches!(reader.read_line(&mut line).await, Ok(1..)) {
        return;
    }
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(e) => {
            let _gone = say(&mut writer, &Answer::Failed(format!("not a request: {e}"))).await;
            return;
        }
    };
    let done = |result: Result<()>| match result {
        Ok(()) => Answer::Done,
        Err(e) => Answer::Failed(format!("{e:#}")),
    };
    let answer = match request {
        Request::Watch => return watch_board(&mut writer, &state.status).await,
        Request::Board => Answer::Board(state.status.board()),
        Request::Sync => done(state.sync()),
        Request::Forward => done(state.forward()),
        Request::Powerdown { node } => done(state.power_down(&node).await),
        Request::Quit { node } => done(state.quit(&node).await),
    };
    let _gone = say(&mut writer, &answer).await;
}

async fn watch_board(writer: &mut tokio::net::unix::OwnedWriteHalf, status: &Status) {
    let mut board = status.watch();
    loop {
        let now = board.borrow_and_update().clone();
        if say(writer, &Answer::Board(now)).await.is_err() || board.changed().await.is_err() {
            return;
        }
    }
}

async fn say(writer: &mut tokio::net::unix::OwnedWriteHalf, answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer).context("failed to write an answer")?;
    line.push(b'\n');
    writer.write_all(&line).await.context("the CLI is gone")
}

//! The keeper's main loop: its sockets, requests and nodes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::Links;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use super::answer::answer;
use super::client::Keeper;
use super::dns::Names;
use super::forward::Forwards;
use super::lan::Lan;
use super::served::Served;
use super::status::Status;
use super::{cut_off, looks, rules, trim, vitals};
use crate::model::Stage;
use crate::network;
use crate::node::{Filling, Identity, KeyPool, fill_keys};
use crate::output;
use crate::state::{
    ClusterDir, ClusterRecord, find_outside, read_json, remove_file, replace_json_unsynced,
};

/// A cluster counts as idle when its nodes are ready and it has been up this long.
const REST: Duration = Duration::from_secs(5);

/// Runs the keeper of a cluster until it is told to end.
///
/// # Errors
/// Fails if it cannot read the record, open its socket, or serve DHCP and DNS (ports 67 and 53).
pub(crate) async fn run(root: PathBuf, dir: ClusterDir, cluster: String) -> Result<()> {
    // In its own session, the end of a terminal does not reach it. It may be a session leader already.
    let _leader_already = nix::unistd::setsid();
    let record =
        ClusterRecord::load(&dir)?.with_context(|| format!("there is no cluster `{cluster}`"))?;
    if let Some(fork) = &record.host.fork {
        find_outside(fork.outside)?;
    }
    replace_json_unsynced(
        &dir.keeper_process(),
        &Identity::of_self(&Keeper::mark(&dir))?,
        0o600,
    )?;
    let status = Status::new(dir.events());
    // A name server of the host may bind port 53 of each address as it appears, so the port comes before the address.
    let (names, name_servers) = Names::open(&record, &dir, status.clone())?;
    let links = Links::open()?;
    for network in record.networks() {
        network::bridge::make(network, &dir, &links).await?;
    }
    let lans = (0..record.networks().count())
        .map(|number| Lan::open(&record, number, &dir))
        .collect::<Result<Vec<_>>>()?;
    let socket = listen(&dir)?;
    let state = Arc::new(Served {
        root,
        dir: dir.clone(),
        status: status.clone(),
        reservations: lans.iter().map(|l| l.reservations.clone()).collect(),
        names: names.clone(),
        forwards: Forwards::default(),
        connections: Mutex::default(),
        consoles: Mutex::default(),
        restarts: Mutex::default(),
        keys: Mutex::default(),
        restoring: Mutex::default(),
        leaving: tokio::sync::watch::Sender::new(false),
        watched: Mutex::default(),
        standstill: tokio::sync::Mutex::default(),
    });
    state.sync()?;
    if let Err(e) = state.forward() {
        // Another program may have taken a port while there was no keeper. The nodes need the keeper nevertheless.
        output::error(&e);
    }
    tokio::spawn(keep_keys(Arc::clone(&state)));
    tokio::spawn(keep_up(Arc::clone(&state)));
    tokio::spawn(looks::run(Arc::clone(&state)));
    tokio::spawn(trim::run());
    tokio::spawn(cut_off::note(names.clone(), dir.clone()));
    tokio::spawn(rules::watch(dir.clone(), cluster, status.clone()));
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let serve = async {
        loop {
            match socket.accept().await {
                Ok((stream, _)) if is_ours(&stream) => {
                    drop(tokio::spawn(answer(stream, Arc::clone(&state))));
                }
                // Whatever the modes of the socket and its folders have become.
                Ok(_) => {}
                // This happens when descriptors run out, for instance. Wait, to avoid a tight loop.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::select! {
        ended = serve_lans(lans, status) => ended,
        ended = names.serve(name_servers) => ended,
        () = serve => Ok(()),
        _ = terminate.recv() => {
            // None of the keeper's tasks outlives it.
            drop(state.keys.lock().map(|mut keys| keys.take()));
            remove_file(&dir.keeper_socket())?;
            remove_file(&dir.keeper_process())
        }
    }
}

/// Whether the other end was connected by root or by this keeper's user.
fn is_ours(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

/// Returns when the first network fails.
async fn serve_lans(lans: Vec<Lan>, status: Status) -> Result<()> {
    let mut serving = tokio::task::JoinSet::new();
    for lan in lans {
        serving.spawn(lan.run(status.clone()));
    }
    match serving.join_next().await {
        Some(ended) => ended.context("a task of the keeper panicked")?,
        None => Ok(()),
    }
}

fn listen(dir: &ClusterDir) -> Result<UnixListener> {
    let path = dir.keeper_socket();
    remove_file(&path)?;
    let socket = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {}", path.display()))?;
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(socket)
}

/// Once the cluster is idle, makes host keys for the next cluster.
async fn keep_keys(state: Arc<Served>) {
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

/// Updates the nodes' steal at an interval.
async fn keep_up(state: Arc<Served>) {
    let pid = |node: &str| {
        let identity = read_json::<Identity>(&state.dir.node(node).process()).ok()??;
        identity.open().map(|_| identity.pid)
    };
    vitals::keep_up(state.status.clone(), pid).await;
}

//! A node's QEMU: finding it, asking it to power off, killing it, and removing its traces.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

use super::bench::Host;
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request};
use crate::model::NodeStop;
use crate::node::{Handle, Identity, find_qemu};
use crate::state::{ClusterDir, NodeRecord, read_json, remove_file};

/// Interval between requests to power off. A guest early in its boot does not notice a request.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Time for a new keeper to connect to QEMU.
const NOT_YET: Duration = Duration::from_millis(300);
/// Time for QEMU to quit, and for the kernel to end a process.
const GRACE: Duration = Duration::from_secs(5);
/// Time for the kernel to end a process with much memory.
const KILLED: Duration = Duration::from_secs(10);

/// The machine of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) node: String,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start {}", self.node)
    }
}

/// A node's running QEMU: as recorded, or found by its uuid if it was never recorded.
pub(crate) fn look(dir: &ClusterDir, node: &str, uuid: &str) -> Option<Handle> {
    look_up(dir, node, uuid).map(|(handle, _)| handle)
}

/// As [`look`], with its pid.
pub(crate) fn look_up(dir: &ClusterDir, node: &str, uuid: &str) -> Option<(Handle, i32)> {
    let opened = |identity: Identity| Some((identity.open()?, identity.pid));
    let recorded = read_json::<Identity>(&dir.node(node).process());
    let recorded = recorded.ok().flatten();
    recorded
        .and_then(opened)
        .or_else(|| opened(find_qemu(uuid)?))
}

impl Node {
    /// Removes what an ended QEMU leaves: its sockets and the record of its process.
    pub(super) fn remove(&self, host: Host<'_>) -> Vec<Error> {
        let dir = host.dir.node(&self.node);
        let paths = [
            dir.process(),
            dir.qmp_socket(),
            dir.agent_socket(),
            dir.console_socket(),
        ];
        let removed = paths.iter().map(|path| remove_file(path));
        removed.filter_map(Result::err).collect()
    }
}

/// How nodes stopped.
#[derive(Debug)]
pub(crate) enum Stopped {
    Done {
        nodes: Vec<(String, NodeStop)>,
        /// Errors of nodes that could not be stopped.
        errors: Vec<Error>,
    },
    /// A signal ended the stop early.
    Interrupted,
}

/// Stops nodes side by side: asks them to power off, then tells QEMU to quit, then kills it. `say` is called for each
/// node as it ends.
///
/// # Errors
/// Fails only at a failpoint.
pub(crate) async fn stop(
    nodes: &[NodeRecord],
    host: Host<'_>,
    patience: Duration,
    interrupt: &mut Interrupt,
    say: &dyn Fn(&str, &NodeStop),
) -> Result<Stopped> {
    let keeper = Keeper::of(host.dir, &host.dir.name());
    let running: Vec<_> = nodes
        .iter()
        .filter_map(|n| Some((n.name.clone(), look(host.dir, &n.name, &n.uuid)?)))
        .collect();
    if !running.is_empty() {
        // Without a keeper, no guest can be asked and QEMU is killed.
        let _only_forced_then = keeper.ensure().await;
        let _same = keeper.ask(&Request::Sync).await;
    }
    failpoint!("stop.keeper");
    let mut stopped = Vec::new();
    let mut errors = Vec::new();
    for node in nodes {
        if !running.iter().any(|(name, _)| *name == node.name) {
            say(&node.name, &NodeStop::WasStopped);
            stopped.push((node.name.clone(), NodeStop::WasStopped));
        }
    }
    let mut tasks = JoinSet::new();
    for (name, handle) in running {
        let keeper = keeper.clone();
        tasks.spawn(async move {
            let outcome = stop_one(&name, &handle, &keeper, patience).await;
            (name, outcome)
        });
    }
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            () = interrupt.wait() => return Ok(Stopped::Interrupted),
        };
        let Some(ended) = ended else { break };
        match ended {
            Ok((name, Ok(outcome))) => {
                say(&name, &outcome);
                stopped.push((name, outcome));
            }
            Ok((name, Err(e))) => errors.push(e.context(format!("cannot stop {name}"))),
            Err(e) => errors.push(e.into()),
        }
    }
    failpoint!("stop.nodes");
    Ok(Stopped::Done {
        nodes: stopped,
        errors,
    })
}

/// Kills nodes whose data is removed anyway. It ends the keeper between the signal and the nodes' end, because the
/// keeper might restart them.
///
/// # Errors
/// Fails only at a failpoint. Other errors go to `errors`.
pub(crate) async fn kill(
    nodes: &[NodeRecord],
    host: Host<'_>,
    errors: &mut Vec<Error>,
) -> Result<usize> {
    let handles: Vec<_> = nodes
        .iter()
        .filter_map(|n| look(host.dir, &n.name, &n.uuid))
        .collect();
    for handle in &handles {
        errors.extend(handle.signal(Signal::SIGKILL).err());
    }
    failpoint!("down.killed");
    let keeper = Keeper::of(host.dir, &host.dir.name());
    errors.extend(keeper.end().await.err());
    failpoint!("down.keeper");
    for handle in &handles {
        if !handle.ended(KILLED).await {
            let name = host.dir.name();
            errors.push(anyhow::anyhow!("a QEMU of {name} does not end"));
        }
    }
    Ok(handles.len())
}

/// Asks a guest to power off repeatedly, because a guest early in its boot may miss a request. `error` holds the last
/// error; an answer clears it.
async fn keep_asking(name: &str, keeper: &Keeper, error: &mut Option<anyhow::Error>) {
    let request = Request::Powerdown {
        node: name.to_owned(),
    };
    let mut pause = NOT_YET;
    loop {
        *error = keeper.ask(&request).await.err();
        tokio::time::sleep(if error.is_some() { pause } else { ASK_AGAIN }).await;
        pause = (2 * pause).min(ASK_AGAIN);
    }
}

async fn stop_one(
    name: &str,
    handle: &Handle,
    keeper: &Keeper,
    patience: Duration,
) -> Result<NodeStop> {
    let began = Instant::now();
    let mut refused = None;
    // This limits both together, because a QEMU that does not answer must not add to the time.
    let ended = tokio::select! {
        biased;
        ended = handle.ended(patience) => ended,
        () = keep_asking(name, keeper, &mut refused) => false,
    };
    if ended {
        let board = keeper.board().await.unwrap_or_default();
        let killed = board.get(name).map(|view| view.killed.join(", "));
        return Ok(match killed.filter(|units| !units.is_empty()) {
            Some(units) => NodeStop::Forced(format!(
                "systemd killed {units}, which did not stop in time"
            )),
            None => NodeStop::Clean(began.elapsed()),
        });
    }
    let mut why = match refused {
        Some(error) => format!("{error:#}"),
        None => format!("did not power off within {} s", patience.as_secs()),
    };
    if let Ok(board) = keeper.board().await
        && let Some(paused) = board.get(name).and_then(|v| v.paused.as_deref())
    {
        why = format!("{why}, paused: {paused}");
    }
    let quit = Request::Quit {
        node: name.to_owned(),
    };
    let ended = tokio::select! {
        biased;
        ended = handle.ended(GRACE) => ended,
        _ = async {
            let _kill_comes_next = keeper.ask(&quit).await;
            std::future::pending::<()>().await;
        } => false,
    };
    if ended {
        return Ok(NodeStop::Forced(why));
    }
    handle.signal(Signal::SIGKILL)?;
    anyhow::ensure!(handle.ended(GRACE).await, "QEMU does not end");
    Ok(NodeStop::Forced(format!(
        "{why}, and QEMU had to be killed"
    )))
}

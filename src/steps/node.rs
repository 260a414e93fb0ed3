//! A node's QEMU: seen, asked to end, made to, and forgotten.

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

/// A guest too early in its boot does not hear; it is asked again this often.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A keeper that was just started may not have reached a QEMU yet.
const NOT_YET: Duration = Duration::from_millis(300);
/// For QEMU to quit, and for the kernel to end a process.
const GRACE: Duration = Duration::from_secs(5);
/// For the kernel to end a process with much memory.
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

/// The node's QEMU that runs: as recorded, or as found by its uuid when that was never written down.
pub(crate) fn look(dir: &ClusterDir, node: &str, uuid: &str) -> Option<Handle> {
    let recorded = read_json::<Identity>(&dir.node(node).process())
        .ok()
        .flatten();
    recorded
        .and_then(|identity| identity.open())
        .or_else(|| find_qemu(uuid)?.open())
}

impl Node {
    /// Removes what a QEMU that has ended leaves: its sockets, and which process it was.
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
        /// Of nodes that could not be stopped.
        errors: Vec<Error>,
    },
    /// It was told to stop stopping.
    Interrupted,
}

/// Stops nodes side by side: asked, then made to quit, then killed. `say` hears of each as it ends.
///
/// # Errors
/// A failpoint's.
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
        // Without it nobody can be asked, only made to.
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
            Ok((name, Err(e))) => errors.push(e.context(format!("failed to stop {name}"))),
            Err(e) => errors.push(e.into()),
        }
    }
    failpoint!("stop.nodes");
    Ok(Stopped::Done {
        nodes: stopped,
        errors,
    })
}

/// Kills nodes, whose data goes anyway, and the keeper between the signal and their end: it might start again what
/// is killed.
///
/// # Errors
/// A failpoint's; what cannot be ended goes to `errors`.
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
            errors.push(anyhow::anyhow!("a QEMU of `{name}` does not end"));
        }
    }
    Ok(handles.len())
}

/// Asks a guest to power off, again and again: it may be too early in its boot to hear. The last
/// error is left in `error`; an answer takes it away.
async fn keep_asking(name: &str, keeper: &Keeper, error: &mut Option<anyhow::Error>) {
    let request = Request::Powerdown {
        node: name.to_owned(),
    };
    loop {
        *error = keeper.ask(&request).await.err();
        let pause = if error.is_some() { NOT_YET } else { ASK_AGAIN };
        tokio::time::sleep(pause).await;
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
    // The bound is of both together: a QEMU that does not answer must not add to it.
    let ended = tokio::select! {
        biased;
        ended = handle.ended(patience) => ended,
        () = keep_asking(name, keeper, &mut refused) => false,
    };
    if ended {
        return Ok(NodeStop::Clean(began.elapsed()));
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
    anyhow::ensure!(handle.ended(GRACE).await, "its QEMU does not end");
    Ok(NodeStop::Forced(format!(
        "{why}, and QEMU had to be killed"
    )))
}

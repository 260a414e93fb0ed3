//! `stop`: asked, then quit, then killed, each bounded; then the network goes too.

use std::time::{Duration, Instant};

use anyhow::Result;
use kvmc_netns::Links;
use nix::sys::signal::Signal;

use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Request};
use crate::network;
use crate::network::forwarding;
use crate::node::{Handle, Identity, find_qemu};
use crate::state::{ClusterDir, ClusterRecord, Phase, State, read_json, remove_file};

/// A guest too early in its boot does not hear; it is asked again this often.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A keeper that was just started may not have reached a QEMU yet.
const NOT_YET: Duration = Duration::from_millis(300);
/// For QEMU to quit, and for the kernel to end a process.
const GRACE: Duration = Duration::from_secs(5);

/// How a node stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did not run.
    WasStopped,
    /// The guest powered off.
    Clean(Duration),
    /// It did not, and was made to.
    Forced(String),
}

/// How `stop` went.
#[derive(Debug)]
pub(crate) enum Stopped {
    Done {
        all_clean: bool,
        /// All that could not be ended or removed; the next `stop` tries again.
        errors: Vec<anyhow::Error>,
        /// What was switched on and stays so, with the reason.
        kept: Option<String>,
    },
    /// It was told to stop stopping.
    Interrupted,
}

/// Stops all nodes, the keeper, and the network.
///
/// # Errors
/// What could not be ended or removed, all of it.
pub(crate) async fn stop(
    mut record: ClusterRecord,
    state: &State,
    dir: &ClusterDir,
    links: &Links,
    patience: Duration,
    interrupt: &mut Interrupt,
    mut say: impl FnMut(&str, &Outcome),
) -> Result<Stopped> {
    let keeper = Keeper::of(dir, &record.spec.name);
    let running: Vec<_> = record
        .nodes
        .iter()
        .filter_map(|n| Some((n.name.clone(), process(dir, &n.name, &n.uuid)?)))
        .collect();
    if !running.is_empty() {
        // Without it nobody can be asked, only made to.
        let _only_forced_then = keeper.ensure().await;
        let _same = keeper.ask(&Request::Sync).await;
    }
    failpoint!("stop.keeper");
    let mut tasks = tokio::task::JoinSet::new();
    for (name, handle) in running {
        let keeper = keeper.clone();
        tasks.spawn(async move {
            let outcome = stop_one(&name, &handle, &keeper, patience).await;
            (name, outcome)
        });
    }
    let mut errors = Vec::new();
    let mut all_clean = true;
    for node in &record.nodes {
        if process(dir, &node.name, &node.uuid).is_none() {
            say(&node.name, &Outcome::WasStopped);
        }
    }
    loop {
        let ended = tokio::select! {
            ended = tasks.join_next() => ended,
            () = interrupt.wait() => return Ok(Stopped::Interrupted),
        };
        let Some(ended) = ended else { break };
        match ended {
            Ok((name, Ok(outcome))) => {
                all_clean &= !matches!(outcome, Outcome::Forced(_));
                say(&name, &outcome);
            }
            Ok((name, Err(e))) => errors.push(e.context(format!("failed to stop {name}"))),
            Err(e) => errors.push(e.into()),
        }
    }
    failpoint!("stop.nodes");
    if interrupt.has_come().await {
        return Ok(Stopped::Interrupted);
    }
    if let Err(e) = keeper.end().await {
        errors.push(e);
    }
    failpoint!("stop.keeper.ended");
    for node in &record.nodes {
        let dir = dir.node(&node.name);
        for path in [
            dir.process(),
            dir.qmp_socket(),
            dir.agent_socket(),
            dir.console_socket(),
        ] {
            if let Err(e) = remove_file(&path) {
                errors.push(e);
            }
        }
    }
    errors.extend(network::accepts::remove(&record, dir));
    errors.extend(network::remove(&record, links).await);
    if interrupt.has_come().await {
        return Ok(Stopped::Interrupted);
    }
    let mut kept = None;
    if errors.is_empty() {
        record.phase = Phase::Stopped;
        record.save(dir)?;
        failpoint!("stop.record");
        // After the record says so: of two that stop at once the later one sees that nobody needs it.
        let was_off = std::mem::take(&mut record.network.forwarding_was_off);
        match forwarding::release(state, &record.spec.name, was_off) {
            Ok(why) => kept = why,
            Err(e) => errors.push(e.context("failed to switch forwarding off again")),
        }
        if was_off {
            record.save(dir)?;
        }
    }
    Ok(Stopped::Done {
        all_clean,
        errors,
        kept,
    })
}

/// The node's QEMU: as recorded, or as found by its uuid when the record was never written.
pub(super) fn process(dir: &ClusterDir, node: &str, uuid: &str) -> Option<Handle> {
    let recorded = read_json::<Identity>(&dir.node(node).process())
        .ok()
        .flatten();
    recorded
        .and_then(|identity| identity.open())
        .or_else(|| find_qemu(uuid)?.open())
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
) -> Result<Outcome> {
    let began = Instant::now();
    let mut refused = None;
    // The bound is of both together: a QEMU that does not answer must not add to it.
    let ended = tokio::select! {
        biased;
        ended = handle.ended(patience) => ended,
        () = keep_asking(name, keeper, &mut refused) => false,
    };
    if ended {
        return Ok(Outcome::Clean(began.elapsed()));
    }
    let mut why = match refused {
        Some(error) => format!("{error:#}"),
        None => format!("did not power off within {} s", patience.as_secs()),
    };
    if let Ok(board) = keeper.ask(&Request::Board).await
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
        return Ok(Outcome::Forced(why));
    }
    handle.signal(Signal::SIGKILL)?;
    anyhow::ensure!(handle.ended(GRACE).await, "its QEMU does not end");
    Ok(Outcome::Forced(format!("{why}, and QEMU had to be killed")))
}

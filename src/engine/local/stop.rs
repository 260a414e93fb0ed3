//! `stop`: asks nodes to power off, then tells QEMU to quit, then kills it, each with a time limit. Of the whole cluster
//! it then removes the network; where nodes are named, the rest of the cluster goes on.

use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::Links;

use super::Local;
use super::reach::{end_sessions, untie_all};
use super::removal::carry_out;
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, NodeStop, StopReport};
use crate::network::check_namespace;
use crate::plan::{self, Step};
use crate::state::{ClusterDir, ClusterRecord, Phase, remove_file};

/// See [`crate::engine::Lifecycle::stop`].
pub(super) async fn stop(
    local: &Local,
    words: &[String],
    patience: Duration,
) -> Result<StopReport> {
    let dir = local.dir();
    let record = local.require()?;
    match words {
        // The user wants the cluster to stay stopped when the host starts, too.
        [] => remove_file(&dir.at_boot())?,
        _ => drop(record.selector().select(words)?),
    }
    let mut report = StopReport {
        cluster: local.cluster.clone(),
        was_stopped: record.phase == Phase::Stopped,
        nodes: Vec::new(),
        errors: Vec::new(),
        kept: None,
    };
    if report.was_stopped {
        return Ok(report);
    }
    check_namespace(&record)?;
    let mut interrupt = Interrupt::listen()?;
    // The verb that held the lock before may have changed all of it.
    let (mut record, _lock) = local.lock("stop", &mut interrupt).await?;
    match record.phase {
        Phase::Stopped => {
            report.was_stopped = true;
            return Ok(report);
        }
        Phase::Removing => return Err(local.half_removed()),
        Phase::Starting | Phase::Up => {}
    }
    local.end_unwanted_standby(&record).await?;
    let ended = match words {
        [] => untie_all(&dir).await,
        _ => Vec::new(),
    };
    let links = Links::open()?;
    let steps = match words {
        [] => plan::stop(&record),
        _ => stay_stopped(&mut record, words, &dir)?,
    };
    let say = |node: &str, stop: &NodeStop| local.progress.say(&line(node, stop));
    let removed = carry_out(
        &steps,
        Some(&mut record),
        local.host(&dir, &links),
        patience,
        &mut interrupt,
        &say,
    )
    .await?;
    if removed.interrupted {
        return Err(interrupted(local, words).into());
    }
    if words.is_empty() && removed.errors.is_empty() {
        let merged = local.merge_images(&mut record);
        let merged = merged.context("images that no snapshot needs cannot be merged");
        // A later stop merges them, too.
        let error = merged.err().filter(|_| !interrupt.came());
        report.errors.extend(error.map(|e| format!("{e:#}")));
    }
    report.nodes = removed.stopped;
    end_ssh(local, &report).await;
    let errors = ended.iter().chain(&removed.errors);
    report.errors.extend(errors.map(|e| format!("{e:#}")));
    report.kept = removed.kept.into_iter().next();
    Ok(report)
}

/// Ends the sessions on nodes that have stopped. Those on a node that powered off have ended by themselves.
async fn end_ssh(local: &Local, report: &StopReport) {
    let has_stopped = |node: &str| report.nodes.iter().any(|(name, _)| name == node);
    let why = |node: &str| {
        let cluster = &local.cluster;
        format!("{node} of cluster `{cluster}` was stopped; this session has ended")
    };
    let ended = end_sessions(&local.dir(), has_stopped, why).await;
    if let Some(line) = ended.line() {
        local.progress.say(&line);
    }
}

/// Records that nodes are to stay stopped, and returns the steps that stop them.
fn stay_stopped(
    record: &mut ClusterRecord,
    words: &[String],
    dir: &ClusterDir,
) -> Result<Vec<Step>> {
    let names = record.selector().select(words)?;
    let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    let nodes = record.nodes.iter().filter(|n| names.contains(&n.name));
    let steps = plan::stop_nodes(&nodes.cloned().collect::<Vec<_>>());
    // The record comes first, so that the keeper restarts none of them.
    record.stopped.extend(names);
    record.save(dir)?;
    failpoint!("stop.named");
    Ok(steps)
}

fn interrupted(local: &Local, words: &[String]) -> Interrupted {
    let of = |verb: &str| match words {
        [] => local.command(verb),
        _ => local.command(&format!("{verb} {}", words.join(" "))),
    };
    let start = if words.is_empty() { "up" } else { "start" };
    Interrupted(format!(
        "{} stops the rest, {} starts the stopped nodes",
        of("stop"),
        of(start)
    ))
}

/// The line about a node that has stopped.
fn line(node: &str, stop: &NodeStop) -> String {
    match stop {
        NodeStop::WasStopped => format!("{node:<10} was stopped"),
        NodeStop::Clean(time) => format!("{node:<10} clean, {:.1} s", time.as_secs_f64()),
        NodeStop::Forced(why) => format!("{node:<10} forced: {why}"),
    }
}

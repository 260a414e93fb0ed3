//! `stop`: asks nodes to power off, then tells QEMU to quit, then kills it, each with a time limit. Then it removes
//! the network.

use std::time::Duration;

use anyhow::{Result, bail};
use kvmc_netns::Links;

use super::Local;
use super::removal::carry_out;
use crate::interrupt::Interrupt;
use crate::model::{Interrupted, NodeStop, StopReport};
use crate::network::check_namespace;
use crate::plan;
use crate::state::{Lock, Phase, remove_file};

/// See [`crate::engine::Lifecycle::stop`].
pub(super) async fn stop(local: &Local, patience: Duration) -> Result<StopReport> {
    let dir = local.dir();
    let record = local.require()?;
    // The user wants the cluster to stay stopped when the host starts, too.
    remove_file(&dir.at_boot())?;
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
    let _lock = tokio::select! {
        lock = Lock::take(&dir, "stop", local.wait) => lock?,
        () = interrupt.wait() => {
            return Err(Interrupted("the cluster is unchanged".to_owned()).into());
        }
    };
    // The verb that held the lock before may have changed all of it.
    let mut record = match local.load()? {
        Some(record) if record.phase == Phase::Stopped => {
            report.was_stopped = true;
            return Ok(report);
        }
        Some(record) if record.phase == Phase::Removing => return Err(local.half_removed()),
        Some(record) => record,
        None => bail!(
            "cluster `{}` was removed while `stop` waited for it",
            local.cluster
        ),
    };
    let links = Links::open()?;
    let steps = plan::stop(&record);
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
        let (stop, up) = (local.command("stop"), local.command("up"));
        let now = format!("{stop} stops the rest, {up} starts the stopped nodes");
        return Err(Interrupted(now).into());
    }
    report.nodes = removed.stopped;
    report.errors = removed.errors.iter().map(|e| format!("{e:#}")).collect();
    report.kept = removed.kept.into_iter().next();
    Ok(report)
}

/// The line about a node that has stopped.
fn line(node: &str, stop: &NodeStop) -> String {
    match stop {
        NodeStop::WasStopped => format!("{node:<10} was stopped"),
        NodeStop::Clean(time) => format!("{node:<10} clean, {:.1} s", time.as_secs_f64()),
        NodeStop::Forced(why) => format!("{node:<10} forced: {why}"),
    }
}

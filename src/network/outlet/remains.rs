//! What a fork leaves outside of its namespace when all of its processes are killed. The namespace and the link go with them.

use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::firewall;
use kvmc_netns::outside::run_outside;

use super::look::open_outside;
use super::removal::remove_rules;
use crate::network::{accepts, forwarding};
use crate::state::{ClusterDir, ClusterRecord, Fork, Lock, Phase, namespace};
use crate::trace;

/// What is left outside of a fork that was killed, in words. It is certain that nobody needs it.
///
/// # Errors
/// Fails if links or rules cannot be read.
pub(crate) async fn left(record: &ClusterRecord, dir: &ClusterDir) -> Result<Vec<String>> {
    let is_killed = record.host_rebooted
        || (record.phase == Phase::Up && !dir.is_inhabited(record.host.namespace));
    let killed = record.host.fork.as_ref().filter(|_| is_killed);
    match killed {
        // Before this thread moves, no namespace is outside of its own.
        Some(fork) if run_outside(namespace)?? == fork.outside => left_of(fork, dir).await,
        _ => Ok(Vec::new()),
    }
}

async fn left_of(fork: &Fork, dir: &ClusterDir) -> Result<Vec<String>> {
    let links = open_outside()?.list().await?;
    let links: Vec<_> = links.into_iter().map(|l| l.name).collect();
    if links.contains(&fork.link) {
        return Ok(Vec::new());
    }
    let mark = firewall::mark(&dir.name());
    let find = move || anyhow::Ok(run_outside(|| firewall::leftovers(&mark, &links))??);
    let task = tokio::task::spawn_blocking(find).await;
    let mut left = task.context("the task that reads the rules panicked")??;
    left.extend(accepts::zones(dir)?);
    Ok(left)
}

/// Removes what is left outside of a killed fork. The caller holds its lock. Returns what that was, in words.
///
/// # Errors
/// Fails if something cannot be removed.
pub(crate) async fn remove_left(record: &ClusterRecord, dir: &ClusterDir) -> Result<Vec<String>> {
    let left = left(record, dir).await?;
    if left.is_empty() {
        return Ok(left);
    }
    if let Some(error) = remove_rules(dir)?.into_iter().next() {
        return Err(error);
    }
    let (state, name) = (dir.state(), dir.name());
    run_outside(|| forwarding::release(&state, &name, false))??;
    Ok(left)
}

/// Removes what other forks of the state folder have left outside. Continues past errors, since their own verbs tell them.
pub(super) async fn sweep(dir: &ClusterDir) {
    for other in dir.others() {
        if let Err(e) = sweep_one(&other).await {
            trace::verbose(|| format!("the rules of {} stay: {e:#}", other.name()));
        }
    }
}

async fn sweep_one(other: &ClusterDir) -> Result<()> {
    let has_left = async || match ClusterRecord::load(other)? {
        Some(record) if !left(&record, other).await?.is_empty() => anyhow::Ok(Some(record)),
        _ => Ok(None),
    };
    if has_left().await?.is_none() {
        return Ok(());
    }
    let _lock = Lock::take(other, "fork", Duration::ZERO).await?;
    if let Some(record) = has_left().await? {
        remove_left(&record, other).await?;
    }
    Ok(())
}

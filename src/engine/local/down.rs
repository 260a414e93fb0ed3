//! `down`: removes everything. It continues past errors, and accepts that something is removed already.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use kvmc_images::Store;
use kvmc_netns::Links;

use super::Local;
use super::reach::{end_sessions, untie_all};
use super::removal::carry_out;
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::model::{self, DownReport, Interrupted};
use crate::network::{accepts, check_namespace, outlet};
use crate::node::KeyPool;
use crate::plan;
use crate::project;
use crate::state::{ClusterRecord, Found, Lock, remove_file};
use crate::steps::{Traces, traces};
use crate::warm;

/// See [`crate::engine::Lifecycle::down`].
pub(super) async fn down(local: &Local) -> Result<DownReport> {
    let links = Links::open()?;
    let mut interrupt = Interrupt::listen()?;
    let report = remove(local, &links, &mut interrupt).await?;
    sweep(local)?;
    Ok(report)
}

async fn remove(local: &Local, links: &Links, interrupt: &mut Interrupt) -> Result<DownReport> {
    let (dir, name) = (local.dir(), &local.cluster);
    let mut report = DownReport {
        cluster: name.clone(),
        found: model::Found::Nothing,
        killed: 0,
        errors: Vec::new(),
        kept: Vec::new(),
    };
    let seen = seen(local, links).await?;
    if seen.is_empty() && !dir.path().exists() {
        let left = accepts::remove_leftovers(name, links).await?;
        if !left.is_empty() {
            report.found = model::Found::Leftovers(left);
        }
        return Ok(report);
    }
    let _lock = tokio::select! {
        lock = Lock::take(&dir, "down", local.wait) => lock?,
        () = interrupt.wait() => {
            return Err(Interrupted("the cluster is unchanged".to_owned()).into());
        }
    };
    // The verb that held the lock before may have changed all of it.
    let seen = self::seen(local, links).await?;
    let mut record = usable_record(local)?;
    if let Some(record) = &record {
        dir.check_entered(record)?;
        check_namespace(record)?;
    }
    let ended = untie_all(&dir).await;
    let why = |_: &str| format!("cluster `{name}` is removed; this session has ended");
    if let Some(line) = end_sessions(&dir, |_| true, why).await.line() {
        local.progress.say(&line);
    }
    let kept_lines = project::uninstall_all(name, &dir);
    failpoint!("down.ssh-config");
    report.found = if record.is_some() || !seen.is_empty() {
        model::Found::Cluster
    } else {
        model::Found::Folder
    };
    let qemus = seen.qemus.len();
    let steps = plan::down(record.as_ref(), seen);
    let host = local.host(&dir, links);
    let removed = carry_out(
        &steps,
        record.as_mut(),
        host,
        Duration::ZERO,
        interrupt,
        &|_, _| {},
    )
    .await?;
    if removed.interrupted {
        let now = format!("{} removes the rest", local.command("down"));
        return Err(Interrupted(now).into());
    }
    if record.is_none() {
        accepts::remove_leftovers(name, links).await?;
        let errors = outlet::remove(&dir).await;
        report
            .errors
            .extend(errors.iter().map(|e| format!("{e:#}")));
    }
    // Without a record, count the QEMU processes that were found by their marks.
    report.killed = removed.killed + if record.is_none() { qemus } else { 0 };
    let errors = ended.iter().chain(&removed.errors);
    report.errors.extend(errors.map(|e| format!("{e:#}")));
    report.kept = removed.kept;
    report.kept.extend(kept_lines);
    Ok(report)
}

async fn seen(local: &Local, links: &Links) -> Result<Traces> {
    let found = traces(&local.state, links).await?.remove(&local.cluster);
    Ok(found.unwrap_or_default())
}

/// The record, or the last good copy of a damaged one, or `None`.
fn usable_record(local: &Local) -> Result<Option<ClusterRecord>> {
    Ok(match Found::look(&local.dir()) {
        Found::NotOurs(error) => return Err(error),
        Found::Whole(record) => Some(*record),
        Found::Copy(copy, error) => {
            let text = format!("warning: {error:#}; `down` uses its last good copy");
            local.progress.say(&text);
            Some(*copy)
        }
        Found::Unreadable(error) => {
            let text = format!("warning: {error:#}; `down` uses what it finds on the host");
            local.progress.say(&text);
            None
        }
        Found::Nothing => None,
    })
}

/// Removes what killed builds and freezes have left.
pub(super) fn sweep(local: &Local) -> Result<()> {
    let root = local.state.root();
    warm::Store::open(root).sweep()?;
    Store::open(root).sweep();
    KeyPool::open(root).sweep();
    Ok(())
}

impl Local {
    /// The names of all clusters of the state folder, including those of which only traces are left.
    ///
    /// # Errors
    /// Fails if the host's links cannot be read.
    pub(crate) async fn cluster_names(&self) -> Result<BTreeSet<String>> {
        let found = traces(&self.state, &Links::open()?).await?.into_keys();
        Ok(self
            .state
            .cluster_names()
            .into_iter()
            .chain(found)
            .collect())
    }

    /// Removes templates, frozen machines and everything else that clusters share. Call it only when no cluster is
    /// left.
    ///
    /// # Errors
    /// Fails if something cannot be removed.
    pub(crate) fn remove_shared(&self) -> Result<()> {
        let root = self.state.root();
        warm::Store::open(root).remove_all()?;
        KeyPool::open(root).remove()?;
        Store::open(root).remove_all()?;
        remove_file(&self.state.accel_cache())?;
        // Keep the folder if it holds files of the user.
        let _not_empty = std::fs::remove_dir(root);
        Ok(())
    }
}

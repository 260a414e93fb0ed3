//! `exec`, `ip`, `cp` and `sync`.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Session;
use crate::cli::{CpFlags, ExecFlags, IpFlags, SyncFlags};
use crate::engine::{CopyRequest, ExecRequest, Reach, SyncRequest};
use crate::model::{Exit, Interrupted};
use crate::output;

pub(super) async fn exec(session: &Session, flags: ExecFlags) -> Result<Exit> {
    let request = ExecRequest {
        targets: flags.targets,
        command: flags.command,
        timeout: flags.timeout,
        stdin: flags.stdin,
    };
    let printed = output::Prefixed::new(flags.json);
    let report = session.engine()?.exec(&request, &printed).await?;
    printed.end(&report)?;
    let cut = report.interrupted();
    if !report.unread && !cut.is_empty() {
        let now = format!("the command may still run on {}", cut.join(", "));
        bail!(Interrupted(now));
    }
    Ok(match report.unread {
        true => Exit::Done,
        false => Exit::Of(report.code()),
    })
}

pub(super) fn ip(session: &Session, flags: &IpFlags) -> Result<Exit> {
    let nodes = session.engine()?.addresses(&flags.targets)?;
    let is_one = matches!((flags.targets.as_slice(), nodes.as_slice()),
        ([word], [node]) if *word == node.node);
    output::addresses(&nodes, is_one, flags.json)?;
    Ok(Exit::Done)
}

pub(super) async fn cp(session: &Session, flags: CpFlags) -> Result<Exit> {
    let (mut sources, json) = (flags.paths, flags.json);
    let target = sources.pop().context("a copy needs a target")?;
    let request = CopyRequest {
        sources,
        target,
        preserve: flags.preserve,
    };
    let report = session.engine()?.copy(&request).await?;
    output::outcome(json, &report)?;
    Ok(output::copies(&report))
}

pub(super) async fn sync(session: &Session, flags: SyncFlags) -> Result<Exit> {
    let request = SyncRequest {
        folder: flags.folder,
        target: flags.target,
        exclude: flags.exclude,
        delete: flags.delete,
        dry_run: flags.dry_run,
        watch: flags.watch,
        patience: Duration::from_secs(flags.timeout),
    };
    let report = session.engine()?.sync(&request).await?;
    output::synced(&report, flags.json)
}

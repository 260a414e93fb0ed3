//! `up` and `start`.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Session;
use crate::cli::{Flags, PullFlags, StartFlags};
use crate::engine::{Lifecycle, StartOptions, UpRequest};
use crate::model::Exit;
use crate::output;

pub(super) async fn up(
    session: &Session,
    flags: &Flags,
    start: &StartFlags,
    pull: &PullFlags,
    dry_run: bool,
) -> Result<Exit> {
    let engine = session.engine()?;
    let request = UpRequest {
        settings: session.settings(&engine, flags.layer())?,
        project: std::env::current_dir().context("the current folder no longer exists")?,
        pull: pull.asked(),
        start: options(start),
    };
    if dry_run {
        return Ok(output::plan(&engine.plan(request).await?));
    }
    Ok(output::up(&engine.up(request).await?))
}

pub(super) async fn start(session: &Session, start: &StartFlags) -> Result<Exit> {
    let report = session.engine()?.start(options(start)).await?;
    Ok(output::up(&report))
}

fn options(flags: &StartFlags) -> StartOptions {
    StartOptions {
        timeout: flags.timeout.map(Duration::from_secs),
        cold: flags.cold,
        overcommit: flags.overcommit,
    }
}

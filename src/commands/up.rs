//! `up`, `plan` and `start`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Session;
use super::consent::with_consent;
use crate::cli::{Flags, PlanArgs, PullFlags, StartFlags, UpArgs};
use crate::engine::{Lifecycle, Local, StartOptions, UpRequest, until_unchanged};
use crate::model::{Exit, Usage};
use crate::output;
use crate::spec::Layer;

pub(super) async fn up(session: &Session, arguments: &UpArgs) -> Result<Exit> {
    if let Some(plan) = &arguments.plan {
        return saved(session, plan, arguments).await;
    }
    let UpArgs {
        flags, start, pull, ..
    } = arguments;
    let engine = session.engine()?;
    if arguments.dry_run {
        let request = request(session, &engine, flags, start, pull)?;
        let plan = engine.plan(request, None).await?;
        if arguments.json {
            output::json(&plan)?;
            return Ok(Exit::Done);
        }
        return Ok(output::steps(&plan));
    }
    let report = with_consent(arguments.yes, async |consent| {
        until_unchanged(async || {
            // The settings of a cluster that is there are a layer of the request.
            let mut request = request(session, &engine, flags, start, pull)?;
            request.start.consent = consent.clone();
            engine.up(request).await
        })
        .await
    });
    let report = report.await?;
    output::outcome(arguments.json, &report)?;
    Ok(output::up(&report))
}

/// Carries out a saved plan.
async fn saved(session: &Session, plan: &Path, arguments: &UpArgs) -> Result<Exit> {
    if arguments.dry_run || arguments.flags.layer() != Layer::default() {
        let why = "a saved plan has its settings; `up PLAN` takes neither settings nor --dry-run";
        return Err(Usage(why.to_owned()).into());
    }
    let engine = session.engine()?;
    let report = with_consent(arguments.yes, async |consent| {
        let options = StartOptions {
            consent,
            ..options(&arguments.start)
        };
        engine
            .carry_out(plan, arguments.pull.asked(), options)
            .await
    });
    let report = report.await?;
    output::outcome(arguments.json, &report)?;
    Ok(output::up(&report))
}

pub(super) async fn plan(session: &Session, arguments: &PlanArgs) -> Result<Exit> {
    let PlanArgs {
        flags,
        start,
        pull,
        out,
        json,
    } = arguments;
    let engine = session.engine()?;
    let request = request(session, &engine, flags, start, pull)?;
    let report = engine.plan(request, out.as_deref()).await?;
    output::plan(&report, *json)
}

fn request(
    session: &Session,
    engine: &Local,
    flags: &Flags,
    start: &StartFlags,
    pull: &PullFlags,
) -> Result<UpRequest> {
    Ok(UpRequest {
        settings: session.settings(engine, flags.layer())?,
        project: std::env::current_dir().context("the current folder no longer exists")?,
        pull: pull.asked(),
        start: options(start),
    })
}

pub(super) async fn start(
    session: &Session,
    nodes: &[String],
    start: &StartFlags,
    json: bool,
) -> Result<Exit> {
    let report = session.engine()?.start(nodes, options(start)).await?;
    output::outcome(json, &report)?;
    Ok(output::up(&report))
}

pub(super) fn options(flags: &StartFlags) -> StartOptions {
    StartOptions {
        timeout: flags.timeout.map(Duration::from_secs),
        cold: flags.cold,
        overcommit: flags.overcommit,
        ..StartOptions::default()
    }
}

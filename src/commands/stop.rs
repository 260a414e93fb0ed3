//! `stop` and `restart`.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Session;
use crate::cli::{RestartArgs, StopArgs};
use crate::engine::{Lifecycle, StartOptions};
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, arguments: &StopArgs) -> Result<Exit> {
    let engine = session.engine()?;
    if arguments.suspend {
        let saved = engine.suspend().await?;
        output::outcome(arguments.json, &saved)?;
        output::suspended(&saved);
        return Ok(Exit::Done);
    }
    let patience = Duration::from_secs(arguments.timeout);
    let report = engine.stop(&arguments.nodes.nodes, patience).await?;
    output::outcome(arguments.json, &report)?;
    Ok(output::stop(&report))
}

pub(super) async fn restart(session: &Session, arguments: &RestartArgs) -> Result<Exit> {
    let engine = session.engine()?;
    let nodes = &arguments.nodes.nodes;
    let patience = Duration::from_secs(arguments.timeout);
    let stopped = engine.stop(nodes, patience).await?;
    if !stopped.errors.is_empty() {
        output::outcome(arguments.json, &stopped)?;
        return Ok(output::stop(&stopped));
    }
    let options = StartOptions {
        overcommit: arguments.overcommit,
        ..StartOptions::default()
    };
    let report = engine.start(nodes, options).await;
    let report = report.context("the nodes are stopped, and cannot be started")?;
    output::outcome(arguments.json, &report)?;
    Ok(output::up(&report))
}

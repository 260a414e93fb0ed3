//! `status`.

use std::time::Duration;

use anyhow::Result;

use super::Session;
use crate::cli::StatusFlags;
use crate::engine::{Lifecycle, Local};
use crate::model::{ClusterStatus, Exit};
use crate::output;

pub(super) async fn run(session: &Session, flags: StatusFlags) -> Result<Exit> {
    let engine = session.engine()?;
    let mut status = look(&engine, flags).await?;
    let Some(seconds) = flags.watch else {
        output::status(&status, flags.json, flags.wide)?;
        return Ok(Exit::Done);
    };
    let mut screen = output::Screen::new();
    // Ctrl-C ends this process as it ends watch(1).
    while screen.show(&output::status_text(&status, flags.json, flags.wide)?) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let mut now = look(&engine, flags).await?;
        now.count_since(&status);
        status = now;
    }
    Ok(Exit::Done)
}

async fn look(engine: &Local, flags: StatusFlags) -> Result<ClusterStatus> {
    let mut status = engine.status().await?;
    if flags.json || flags.wide {
        engine.measure_memory(&mut status);
    }
    Ok(status)
}

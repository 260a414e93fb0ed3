//! `events`.

use anyhow::Result;

use super::Session;
use crate::cli::EventsFlags;
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, flags: EventsFlags) -> Result<Exit> {
    let mut failed = None;
    let mut show = |line| {
        output::event(&line, flags.json).unwrap_or_else(|e| {
            failed = Some(e);
            false
        })
    };
    // Ctrl-C ends this process as it ends tail(1).
    let engine = session.engine()?;
    engine.events(flags.since, flags.follow, &mut show).await?;
    failed.map_or(Ok(Exit::Done), Err)
}

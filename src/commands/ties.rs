//! `mount` and `share`, and their ends.

use anyhow::Result;

use super::Session;
use crate::cli::{MountFlags, ShareFlags};
use crate::engine::{Reach, TieRequest};
use crate::model::{Exit, TieKind, TieReport};
use crate::output;

pub(super) async fn mount(session: &Session, flags: MountFlags) -> Result<Exit> {
    let request = TieRequest {
        kind: TieKind::Mount,
        place: flags.place,
        folder: flags.folder,
        read_only: flags.read_only,
    };
    made(&session.engine()?.tie(&request).await?, flags.json)
}

pub(super) async fn share(session: &Session, flags: ShareFlags) -> Result<Exit> {
    let request = TieRequest {
        kind: TieKind::Share,
        place: flags.place,
        folder: flags.folder,
        read_only: flags.read_only,
    };
    made(&session.engine()?.tie(&request).await?, flags.json)
}

fn made(report: &TieReport, as_json: bool) -> Result<Exit> {
    output::outcome(as_json, report)?;
    Ok(output::tied(report))
}

pub(super) async fn end(
    session: &Session,
    kind: TieKind,
    what: &str,
    as_json: bool,
) -> Result<Exit> {
    let ended = session.engine()?.untie(kind, what).await?;
    output::outcome(as_json, &ended)?;
    output::talk(&format!("ended {ended}"));
    Ok(Exit::Done)
}

/// Serves a folder. The verb that started this process waits for a line.
pub(super) async fn attach(session: &Session, name: &str, tie: &str) -> Result<Exit> {
    let engine = session.named(name)?;
    engine
        .attend(tie, &mut || output::data("attached\n"))
        .await?;
    Ok(Exit::Done)
}

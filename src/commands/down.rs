//! `down`.

use anyhow::Result;

use super::Session;
use crate::engine::{Lifecycle, Local};
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, all: bool, json: bool) -> Result<Exit> {
    if !all {
        let report = session.engine()?.down().await?;
        output::outcome(json, &report)?;
        return Ok(output::down(&report));
    }
    let engine = session.host()?;
    let mut exit = Exit::Done;
    for name in engine.cluster_names().await? {
        let report = session.elsewhere(&name, async |cluster: Local| cluster.down().await)?;
        output::outcome(json, &report)?;
        let ended = output::down(&report);
        if ended != Exit::Done {
            exit = ended;
        }
    }
    if exit == Exit::Done {
        engine.remove_shared()?;
        output::talk("removed the templates and frozen machines");
    }
    Ok(exit)
}

//! `down`.

use anyhow::Result;

use super::Session;
use crate::engine::Lifecycle;
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, all: bool) -> Result<Exit> {
    let engine = session.engine()?;
    if !all {
        return Ok(output::down(&engine.down().await?));
    }
    let mut exit = Exit::Done;
    for name in engine.cluster_names().await? {
        let ended = output::down(&engine.of(&name).down().await?);
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

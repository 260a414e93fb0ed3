//! `forward`: lists and changes the forwards of a cluster, also while it runs.

use anyhow::{Context, Result};

use super::Session;
use crate::cli::ForwardCommand;
use crate::engine::Engine;
use crate::model::{Exit, ForwardChange, Usage};
use crate::output;
use crate::spec::Forward;

pub(super) async fn run(session: &Session, command: ForwardCommand) -> Result<Exit> {
    let engine = session.engine()?;
    let engine = engine
        .forwarding()
        .context("this engine does not support forwards")?;
    match command {
        ForwardCommand::Ls { json } => output::forwards(&engine.forwards()?, json)?,
        ForwardCommand::Add { forwards, json } => {
            let forwards = forwards
                .iter()
                .map(|text| text.parse::<Forward>().map_err(|e| Usage(e).into()))
                .collect::<Result<Vec<_>>>()?;
            let added = engine.add_forwards(&forwards).await?;
            output::leads(&added);
            output::outcome(json, &ForwardChange::added(added))?;
        }
        ForwardCommand::Rm { forwards, json } => {
            engine.remove_forwards(&forwards).await?;
            output::talk(&format!("removed {}", forwards.join(", ")));
            output::outcome(json, &ForwardChange::removed(forwards))?;
        }
    }
    Ok(Exit::Done)
}

//! `scale` and `rm`.

use std::time::Duration;

use anyhow::Result;

use super::Session;
use super::consent::with_consent;
use super::up::options;
use crate::cli::{RmArgs, ScaleArgs};
use crate::engine::{Consent, Lifecycle, Local, Size, StartOptions};
use crate::hint::command;
use crate::model::{Exit, Usage};
use crate::output;
use crate::spec::{Key, Layer, Settings};

pub(super) async fn scale(session: &Session, arguments: &ScaleArgs) -> Result<Exit> {
    let counts = arguments.counts.iter();
    let counts = counts.map(|text| count(text)).collect::<Result<Vec<_>>>()?;
    let engine = session.engine()?;
    let report = with_consent(arguments.yes, async |consent| {
        let options = StartOptions {
            consent,
            ..options(&arguments.start)
        };
        engine.scale(&counts, options).await
    });
    let report = report.await?;
    output::outcome(arguments.json, &report)?;
    let exit = output::up(&report);
    note_other_numbers(session, &engine);
    Ok(exit)
}

pub(super) async fn rm(session: &Session, arguments: &RmArgs) -> Result<Exit> {
    let options = StartOptions {
        consent: Consent::Nodes(arguments.nodes.clone()),
        patience: Some(Duration::from_secs(arguments.timeout)),
        ..StartOptions::default()
    };
    let engine = session.engine()?;
    let report = engine.remove(&arguments.nodes, options).await?;
    output::outcome(arguments.json, &report)?;
    let exit = output::up(&report);
    note_other_numbers(session, &engine);
    Ok(exit)
}

/// Tells of numbers of nodes in `kvmc.toml` and the environment that the next `up` brings back. A mistake there is no
/// error of a verb that has done its work.
fn note_other_numbers(session: &Session, engine: &Local) {
    if let Err(error) = say_other_numbers(session, engine) {
        let up = command(engine.name(), "up");
        output::talk(&format!("note: the next {up} would fail: {error:#}"));
    }
}

fn say_other_numbers(session: &Session, engine: &Local) -> Result<()> {
    let asked = session.settings(engine, Layer::default())?;
    let there = Settings::resolve(engine.made_of()?);
    for role in there.roles() {
        let key = Key::role(role, "count");
        let (now, then) = (there.value(&key)?, asked.value(&key)?);
        let source = asked.source(&key);
        if now != then && source.is_asked() {
            let up = command(engine.name(), "up");
            output::talk(&format!(
                "note: {key} is {then} in {source}; the next {up} applies that"
            ));
        }
    }
    Ok(())
}

/// Reads `ROLE=N`. What is wrong with either is told by the engine, which knows the roles.
fn count(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((role, count)) if !role.is_empty() && !count.is_empty() => {
            Ok((role.to_owned(), count.to_owned()))
        }
        _ => Err(Usage(format!(
            "`{}` is not a role and its number of nodes; expected a form such as workers=5",
            text.escape_debug()
        ))
        .into()),
    }
}

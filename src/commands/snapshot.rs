//! `snapshot`.

use anyhow::Result;

use super::Session;
use crate::cli::{Clock, SnapshotCommand};
use crate::engine::local::{Local, SaveRequest};
use crate::model::{Exit, SnapshotRemoval, Usage};
use crate::output;
use crate::snapshot::{LONGEST_NOTE, Name};

pub(super) async fn run(session: &Session, command: SnapshotCommand) -> Result<Exit> {
    let engine = session.engine()?;
    match command {
        SnapshotCommand::Save {
            name,
            note,
            keep,
            json,
        } => {
            check_note(&note)?;
            let keep = keep.map(usize::from);
            let request = SaveRequest { name, note, keep };
            output::saved(&engine.save_snapshot(&request).await?, json)?;
        }
        SnapshotCommand::Ls { json } => output::snapshots(&engine.list_snapshots()?, json)?,
        SnapshotCommand::Diff { snapshot, json } => {
            output::snapshot_diff(&engine.diff_snapshot(&snapshot)?, json)?;
        }
        SnapshotCommand::Export {
            snapshot,
            file,
            json,
        } => {
            let exported = engine.export_snapshot(&snapshot, &file).await?;
            output::outcome(json, &exported)?;
            output::exported(&exported);
        }
        SnapshotCommand::Import { file, json } => {
            let imported = engine.import_snapshot(&file).await?;
            output::imported(&imported, json)?;
        }
        SnapshotCommand::Rm { snapshots, json } => remove(&engine, &snapshots, json).await?,
        SnapshotCommand::Rollback {
            snapshot,
            clock,
            json,
        } => {
            let keeps_clock = clock == Clock::Keep;
            let report = engine.roll_back(&snapshot, keeps_clock).await?;
            output::outcome(json, &report)?;
            output::rolled_back(&report);
        }
    }
    Ok(Exit::Done)
}

/// Removes snapshots one after the other. The outcome tells which were removed, also where one cannot be.
async fn remove(engine: &Local, snapshots: &[Name], as_json: bool) -> Result<()> {
    let mut removed = Vec::new();
    let mut done = Ok(());
    for name in snapshots {
        done = engine.remove_snapshot(name).await;
        if done.is_err() {
            break;
        }
        output::talk(&format!("removed {name}"));
        removed.push(name.to_string());
    }
    output::outcome(as_json, &SnapshotRemoval { removed })?;
    done
}

fn check_note(note: &str) -> Result<()> {
    if note.len() > LONGEST_NOTE || note.chars().any(char::is_control) {
        let usage = format!(
            "a note of {} bytes; expected one line of at most {LONGEST_NOTE}",
            note.len()
        );
        return Err(Usage(usage).into());
    }
    Ok(())
}

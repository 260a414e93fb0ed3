//! `snapshot`.

use anyhow::Result;

use super::Session;
use crate::cli::{Clock, SnapshotCommand};
use crate::engine::local::SaveRequest;
use crate::model::{Exit, Usage};
use crate::output;
use crate::snapshot::LONGEST_NOTE;

pub(super) async fn run(session: &Session, command: SnapshotCommand) -> Result<Exit> {
    let engine = session.engine()?;
    match command {
        SnapshotCommand::Save { name, note, keep } => {
            check_note(&note)?;
            let keep = keep.map(usize::from);
            let request = SaveRequest { name, note, keep };
            output::saved(&engine.save_snapshot(&request).await?);
        }
        SnapshotCommand::Ls { json } => output::snapshots(&engine.list_snapshots()?, json)?,
        SnapshotCommand::Diff { snapshot, json } => {
            output::snapshot_diff(&engine.diff_snapshot(&snapshot)?, json)?;
        }
        SnapshotCommand::Export { snapshot, file } => {
            output::exported(&engine.export_snapshot(&snapshot, &file).await?, &file);
        }
        SnapshotCommand::Import { file } => {
            output::imported(&engine.import_snapshot(&file).await?);
        }
        SnapshotCommand::Rm { snapshots } => {
            for name in &snapshots {
                engine.remove_snapshot(name).await?;
                output::talk(&format!("removed {name}"));
            }
        }
        SnapshotCommand::Rollback { snapshot, clock } => {
            let keeps_clock = clock == Clock::Keep;
            output::rolled_back(&engine.roll_back(&snapshot, keeps_clock).await?);
        }
    }
    Ok(Exit::Done)
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

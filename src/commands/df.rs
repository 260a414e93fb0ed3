//! `df`.

use anyhow::Result;

use super::Session;
use crate::cli::DfFlags;
use crate::model::Exit;
use crate::output;

pub(super) fn run(session: &Session, flags: DfFlags) -> Result<Exit> {
    output::disk_usage(&session.host()?.disk_usage()?, flags.json)?;
    Ok(Exit::Done)
}

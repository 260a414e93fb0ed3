//! `config`.

use anyhow::Result;

use super::Session;
use crate::cli::Flags;
use crate::model::Exit;
use crate::output;
use crate::spec::check;

pub(super) fn run(session: &Session, flags: &Flags, json: bool) -> Result<Exit> {
    let settings = session.settings(&session.engine()?, flags.layer())?;
    check(&settings)?;
    output::settings(&settings, json)?;
    Ok(Exit::Done)
}

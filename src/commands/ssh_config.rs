//! `ssh-config`.

use anyhow::Result;

use super::Session;
use crate::cli::SshConfigCommand;
use crate::engine::Reach;
use crate::model::Exit;
use crate::output;

pub(super) fn run(session: &Session, command: SshConfigCommand) -> Result<Exit> {
    let wanted = matches!(command, SshConfigCommand::Install);
    let (path, changed) = session.engine()?.include_ssh_config(wanted)?;
    output::included(&path, wanted, changed);
    Ok(Exit::Done)
}

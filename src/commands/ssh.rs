//! `ssh`: this process becomes ssh(1), so the exit code is that of the command on the node.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::Session;
use crate::engine::Reach;
use crate::hint::{WithHint, host_command};
use crate::model::Exit;

pub(super) fn run(session: &Session, node: &str, command: &[String]) -> Result<Exit> {
    let config = session.engine()?.ssh_config(node)?;
    #[expect(clippy::disallowed_methods, reason = "this process becomes ssh")]
    let error = Command::new("ssh")
        .arg("-F")
        .arg(config)
        .arg(node)
        .args(command)
        .exec();
    Err(error)
        .context("ssh cannot be run")
        .hint(|| format!("{} installs it", host_command("doctor --fix")))
}

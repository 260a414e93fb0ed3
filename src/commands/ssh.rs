//! `ssh`: ssh(1) itself takes this process over, so its exit code is the command's.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use super::Scene;
use crate::network;
use crate::state::ClusterRecord;

pub(super) fn run(scene: &Scene, node: &str, command: &[String]) -> Result<ExitCode> {
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let record = ClusterRecord::require(&dir, &name)?;
    record.node(node)?;
    network::check_namespace(&record)?;
    #[expect(clippy::disallowed_methods, reason = "this process becomes ssh")]
    let error = Command::new("ssh")
        .arg("-F")
        .arg(dir.artifact("ssh_config"))
        .arg(node)
        .args(command)
        .exec();
    Err(error).context("failed to run ssh; `kvmc doctor --fix` installs it")
}

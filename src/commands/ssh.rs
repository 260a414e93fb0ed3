//! `ssh`: this process becomes ssh(1), so the exit code is that of the command on the node.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use super::Session;
use crate::engine::Reach;
use crate::hint::{WithHint, host_command};
use crate::model::Exit;
use crate::output;
use crate::trace;

pub(super) async fn run(session: &Session, node: &str, command: &[String]) -> Result<Exit> {
    let engine = session.engine()?;
    let config = engine.ssh_config(node)?;
    output::faults(node, &engine.faults_in_the_way(node).await);
    // The configuration leads into the namespace of a fork, and ssh may need what is outside.
    engine.leave()?;
    if let Err(error) = engine.begin_session(node) {
        trace::verbose(|| format!("no verb will tell this session why it ends: {error:#}"));
    }
    #[expect(clippy::disallowed_methods, reason = "this process becomes ssh")]
    let error = Command::new("ssh")
        .arg("-F")
        .arg(config)
        // Without it, ssh takes words of the command for its own options.
        .arg("--")
        .arg(node)
        .args(command)
        .exec();
    Err(error)
        .context("ssh cannot be run")
        .hint(|| format!("{} installs it", host_command("doctor --fix")))
}

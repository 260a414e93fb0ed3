//! Starts the keeper again in its own process: its sockets are bound to a bridge that is gone, and a new keeper makes it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Error;

use super::client::{Keeper, own_program};
use crate::state::ClusterDir;

/// Replaces this process by a new keeper with the same pid, which keeps its record valid. Returns only an error.
pub(super) fn start(dir: &ClusterDir, cluster: &str) -> Error {
    let program = match own_program() {
        Ok(program) => program,
        Err(e) => return e,
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the keeper is this program itself"
    )]
    let error = Command::new(program)
        .arg("keeper")
        .arg(cluster)
        .arg(Keeper::mark(dir))
        .exec();
    Error::new(error).context("the keeper cannot start again")
}

//! `ansible` and `playbook`: this process becomes Ansible's, so the exit code is Ansible's.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Session;
use crate::engine::Reach;
use crate::hint::{bail_with_hint, host_command};
use crate::host::{find_program, package_name};
use crate::model::Exit;

/// Runs `ansible` with the cluster's inventory.
pub(super) fn ansible(session: &Session, words: Vec<OsString>, verbose: bool) -> Result<Exit> {
    become_program(session, "ansible", &with_verbose(words, verbose))
}

/// Runs `ansible-playbook` with the cluster's inventory.
pub(super) fn playbook(
    session: &Session,
    file: &Path,
    words: Vec<OsString>,
    verbose: bool,
) -> Result<Exit> {
    let mut all = vec![file.as_os_str().to_owned()];
    all.extend(with_verbose(words, verbose));
    become_program(session, "ansible-playbook", &all)
}

/// `--verbose` is a flag of kvmc and of Ansible, and clap takes it before it looks at Ansible's words.
fn with_verbose(mut words: Vec<OsString>, verbose: bool) -> Vec<OsString> {
    if verbose {
        words.insert(0, "--verbose".into());
    }
    words
}

fn become_program(session: &Session, program: &str, arguments: &[OsString]) -> Result<Exit> {
    let engine = session.engine()?;
    let inventory = engine.inventory_file()?;
    let Some(path) = find_program(program) else {
        let doctor = host_command("doctor");
        bail_with_hint!(
            format!(
                "install {}; {doctor} shows whether kvmc finds it",
                package_name("ansible-core")
            ),
            "`{program}` is not installed on this host"
        );
    };
    // The inventory leads into the namespace of a fork, and plays may need what is outside.
    engine.leave()?;
    #[expect(clippy::disallowed_methods, reason = "this process becomes Ansible")]
    let error = Command::new(path)
        .arg("-i")
        .arg(inventory)
        .args(arguments)
        .exec();
    Err(error).with_context(|| format!("{program} cannot be run"))
}

//! Access to the machine in which an image is built.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::request::NODE;
use crate::hint::{WithHint, host_command};
use crate::state::ClusterDir;

/// A running build machine.
pub(super) struct Machine<'a> {
    pub(super) dir: &'a ClusterDir,
}

impl Machine<'_> {
    pub(super) async fn ssh(&self, command: &str) -> Result<()> {
        let config = self.config();
        attend("ssh", &["-F", &config, NODE, command], None).await
    }

    pub(super) async fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let config = self.config();
        let from = from.display().to_string();
        attend(
            "scp",
            &["-q", "-r", "-F", &config, &from, &format!("{NODE}:{to}")],
            None,
        )
        .await
    }

    /// Runs a playbook on the host, in the playbook's own folder, so that its relative paths work.
    pub(super) async fn play(&self, playbook: &Path) -> Result<()> {
        let inventory = self.dir.artifact("inventory").display().to_string();
        let playbook_text = playbook.display().to_string();
        attend(
            "ansible-playbook",
            &["-i", &inventory, &playbook_text],
            playbook.parent(),
        )
        .await
    }

    fn config(&self) -> String {
        self.dir.artifact("ssh_config").display().to_string()
    }
}

/// Runs a program to its end. The program writes to our stdout and stderr, and is killed when kvmc ends.
///
/// # Errors
/// Fails if the program cannot be run or its status is not zero.
async fn attend(program: &str, arguments: &[&str], folder: Option<&Path>) -> Result<()> {
    let talk = || -> Result<Stdio> { Ok(std::io::stderr().as_fd().try_clone_to_owned()?.into()) };
    #[expect(
        clippy::disallowed_methods,
        reason = "the user sees the output of ssh, scp and ansible-playbook"
    )]
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .current_dir(folder.unwrap_or(Path::new(".")))
        .stdin(Stdio::null())
        .stdout(talk()?)
        .stderr(talk()?)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("{program} cannot be run"))
        .hint(|| format!("{} installs it", host_command("doctor --fix")))?;
    let status = child
        .wait()
        .await
        .with_context(|| format!("{program} cannot be run"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{program} ended with {status}; its output is above")
    }
}

//! ssh(1) and scp(1), run for a cluster's nodes without questions to the user.

#![allow(
    unsafe_code,
    reason = "pre_exec: one async-signal-safe system call between fork and exec"
)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use super::super::Local;
use crate::hint::{WithHint, host_command};
use crate::state::ClusterRecord;

/// Seconds that a node has to answer with its ssh banner, and an emulated one on a busy host.
const CONNECT: u64 = 10;
const CONNECT_EMULATED: u64 = 60;
/// The first limit of an attempt to reach a node again. One that is sent while the node goes down is never answered.
const AGAIN: Duration = Duration::from_secs(15);
/// Most bytes of ssh's own messages that are read.
const LONGEST: u64 = 16 << 10;

/// How a cluster's nodes are reached.
#[derive(Debug, Clone)]
pub(super) struct Ssh {
    config: PathBuf,
    connect: u64,
}

impl Ssh {
    /// `limit`: seconds that everything may take.
    pub(super) fn of(local: &Local, record: &ClusterRecord, limit: Option<u64>) -> Self {
        let connect = match record.accelerator.is_kvm() {
            true => CONNECT,
            false => CONNECT_EMULATED,
        };
        Self {
            config: local.dir().artifact("ssh_config"),
            connect: limit.map_or(connect, |limit| limit.min(connect)),
        }
    }

    /// An ssh that runs `words` on a node, joined by blanks as ssh does. Its own messages go to `said`.
    pub(super) fn command(&self, node: &str, words: &[String], said: &Said) -> Command {
        let mut command = self.program("ssh");
        command.args(["-E", &said.path(), "--", node]).args(words);
        command
    }

    /// The same for a long connection, which notices early that the node is gone. A guest that only hangs has time to
    /// go on.
    pub(super) fn patient(&self, node: &str, words: &[String], said: &Said) -> Command {
        let mut command = self.program("ssh");
        command
            .args([
                "-o",
                "ServerAliveInterval=5",
                "-o",
                "ServerAliveCountMax=24",
            ])
            .args(["-E", &said.path(), "--", node])
            .args(words);
        command
    }

    /// The time that a node has to answer with its ssh banner.
    pub(super) const fn connects(&self) -> Duration {
        Duration::from_secs(self.connect)
    }

    /// An sshfs, whose options for mounting follow. It notices within a minute that the node is gone.
    pub(super) fn sshfs(&self) -> Command {
        let mut command = self.program("sshfs");
        command.args(["-o", "ServerAliveInterval=5,ServerAliveCountMax=12"]);
        command
    }

    /// An scp of folders and files.
    pub(super) fn scp(&self) -> Command {
        let mut command = self.program("scp");
        command.arg("-r");
        command
    }

    fn program(&self, name: &str) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the user sees its output")]
        let mut command = Command::new(name);
        command
            .arg("-F")
            .arg(&self.config)
            .args(["-o", "BatchMode=yes", "-o"])
            .arg(format!("ConnectTimeout={}", self.connect))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // SAFETY: prctl(2) with integers only.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from)
            });
        }
        command
    }
}

/// The limits of attempts to reach a node, the first and the later ones: short at first, then longer each time.
#[derive(Debug)]
pub(super) struct Limits {
    whole: Duration,
    again: Option<Duration>,
}

impl Limits {
    /// `whole` is the longest time that a node can need.
    pub(super) const fn new(whole: Duration) -> Self {
        Self { whole, again: None }
    }

    /// The limit of the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let Some(limit) = self.again else {
            return self.whole;
        };
        self.again = Some(limit.saturating_mul(2));
        limit.min(self.whole)
    }

    /// The node was reached, so what comes next are attempts to reach it again.
    pub(super) const fn reached(&mut self) {
        self.again = Some(AGAIN);
    }
}

/// Starts a program. Without a terminal to read from it gets a process group of its own, so that Ctrl-C reaches only
/// kvmc.
///
/// # Errors
/// Fails if the program is not installed.
pub(super) fn start(mut command: Command, is_apart: bool) -> Result<Child> {
    if is_apart {
        command.process_group(0);
    }
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    command
        .spawn()
        .with_context(|| format!("{program} cannot be run"))
        .hint(|| format!("{} installs it", host_command("doctor --fix")))
}

/// The exit code of an ended program, as shells count it.
pub(super) fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// ssh's own messages, apart from those of the command on the node. They are in memory, so no file is left.
#[derive(Debug)]
pub(super) struct Said(File);

impl Said {
    /// # Errors
    /// Fails if the kernel gives no memory file.
    pub(super) fn new() -> Result<Self> {
        let file = memfd_create("ssh", MFdFlags::MFD_CLOEXEC).context("no memory file")?;
        Ok(Self(file.into()))
    }

    /// ssh closes descriptors that it does not know, so it opens the file through this process.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// The last line; none if there is no message.
    pub(super) fn last(mut self) -> Option<String> {
        self.0.seek(SeekFrom::Start(0)).ok()?;
        let mut bytes = Vec::new();
        self.0.take(LONGEST).read_to_end(&mut bytes).ok()?;
        last_line(&bytes)
    }
}

/// The last line that is not empty, without control characters and the program's name.
pub(super) fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?.trim();
    let line = line
        .strip_prefix("ssh: ")
        .or_else(|| line.strip_prefix("scp: "))
        .unwrap_or(line);
    Some(line.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_node_that_was_reached_gets_short_attempts_that_become_longer() {
        let seconds = |limits: &mut Limits| limits.next().as_secs();
        let mut limits = Limits::new(Duration::from_secs(50));
        assert_eq!([(); 2].map(|()| seconds(&mut limits)), [50, 50]);
        limits.reached();
        assert_eq!([(); 4].map(|()| seconds(&mut limits)), [15, 30, 50, 50]);
        limits.reached();
        assert_eq!(seconds(&mut limits), 15);
    }

    #[test]
    fn the_last_message_of_ssh_is_read_through_its_path() {
        let said = Said::new().unwrap();
        let mut file = File::options().append(true).open(said.path()).unwrap();
        file.write_all(b"first\nssh: connect to host x\x1b port 22: refused\r\n\n")
            .unwrap();
        assert_eq!(said.last().unwrap(), "connect to host x port 22: refused");
        assert_eq!(Said::new().unwrap().last(), None);
    }
}

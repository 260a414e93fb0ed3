//! QEMU as a process: starts, identifies and ends it.

#![allow(
    unsafe_code,
    reason = "pre_exec: only async-signal-safe system calls run between fork and exec"
)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::confine::{Credentials, confine};
use super::descriptors;
use super::world::{self, Layers, World};
use crate::ids::boot_id;
use crate::state::{MOUNTS, mounts};
use crate::trace;

/// Descriptors for a child, with their numbers in the child.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    fds: Vec<OwnedFd>,
    /// The child's environment tells that it stands by, so that it is not taken for the node's.
    pub(super) stands_by: bool,
}

impl Passed {
    /// Passes `fd` to the child, and returns its number there.
    pub(crate) fn pass(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        self.fds.push(fd.into());
        descriptors::FIRST + RawFd::try_from(self.fds.len() - 1).unwrap_or(RawFd::MAX)
    }
}

/// What tells a process from every other that ever had its pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat`, proc(5).
    pub(crate) start_time: u64,
    pub(crate) boot_id: String,
    /// A word that its command line must contain.
    pub(crate) mark: String,
}

/// Saves near 2 of 27 MB of a QEMU's own memory: one heap for all threads (mallopt(3)), and no separate one for GLib's
/// small allocations, which GLib itself dropped in 2.76.
const MEMORY_SAVING: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("G_SLICE", "always-malloc")];

/// The variable in the environment of a QEMU that was started to stand by.
pub(super) const STANDBY: &str = "KVMC_STANDBY";

/// What a QEMU is started from.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [String],
    pub(crate) passed: Passed,
    pub(crate) who: Credentials,
    /// A folder of this QEMU's own, over which its root is built. It sees nothing of it.
    pub(crate) folder: &'a Path,
    /// Takes its output.
    pub(crate) log: File,
    /// A word of its arguments, for its identity.
    pub(crate) mark: &'a str,
}

/// Starts a program in a session and a world of its own, confined, with its output in the log.
///
/// It gets no group except `gid`, no capabilities, no new privileges, no core dump, and no descriptors except the
/// passed ones. Of the host it sees what [`World`] says.
///
/// # Errors
/// Fails if it cannot be started. Its later output is in the log.
pub(crate) fn spawn(start: Start<'_>) -> Result<Running> {
    let Start {
        program,
        who,
        log,
        mark,
        ..
    } = start;
    let mark_standby = start.passed.stands_by.then_some((STANDBY, "1"));
    let first = descriptors::FIRST;
    let after = first + RawFd::try_from(start.passed.fds.len()).unwrap_or_default();
    let world = World::prepare(program, start.folder, &start.passed.fds);
    let world = world.lift(after).context("no descriptor is free")?;
    let (told, tell) = world::pipe(after)?;
    let mappings = start.passed.fds.into_iter().zip(first..);
    let mappings: Vec<_> = mappings
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    #[expect(clippy::disallowed_methods, reason = "only this function starts QEMU")]
    let mut command = Command::new(program);
    command
        .args(start.args)
        .env_clear()
        .envs(std::env::vars().filter(|(k, _)| k == "PATH"))
        .envs(MEMORY_SAVING)
        .envs(mark_standby)
        .envs(mounts().map(|inode| (MOUNTS, inode.to_string())))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("the log cannot be shared")?)
        .stderr(log);
    command
        .fd_mappings(mappings)
        .context("two descriptors have the same number")?;
    let spawned = world::in_pid_namespace(|has_pids| {
        let tell = tell.as_raw_fd();
        // SAFETY: only async-signal-safe system calls, on values made before the fork.
        unsafe {
            command.pre_exec(move || {
                descriptors::close_from(after);
                let mut layers = world::enter(&world, has_pids)?;
                confine(who)?;
                world.shut(&mut layers);
                world::tell(tell, layers);
                Ok(())
            });
        }
        command.spawn()
    });
    drop(tell);
    let mut child = spawned
        .context("this thread has lost its PID namespace")?
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let layers = world::told(told);
    let pid = i32::try_from(child.id()).context("the pid does not fit into an i32")?;
    let identity = match identify(pid, mark) {
        Ok(identity) => identity,
        Err(e) => {
            let _already_gone = child.kill();
            let _status = child.wait();
            return Err(e);
        }
    };
    trace::verbose(|| match layers.lacking().as_slice() {
        [] => format!("QEMU {pid} is confined"),
        lacking => format!("QEMU {pid} is confined, without {}", lacking.join(", ")),
    });
    Ok(Running {
        child,
        identity,
        layers,
    })
}

/// A QEMU that this process started.
#[derive(Debug)]
pub(crate) struct Running {
    child: std::process::Child,
    pub(crate) identity: Identity,
    /// What it is kept in.
    pub(crate) layers: Layers,
}

impl Running {
    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Fails if it was waited for already.
    pub(crate) fn wait(&mut self) -> Result<std::process::ExitStatus> {
        self.child.wait().context("the state of QEMU is unknown")
    }

    /// Kills it and waits for its end. Accepts that it has ended already.
    pub(crate) fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
    }
}

pub(super) fn identify(pid: i32, mark: &str) -> Result<Identity> {
    Ok(Identity {
        pid,
        start_time: start_time(pid).with_context(|| format!("process {pid} has ended"))?,
        boot_id: boot_id()?,
        mark: mark.to_owned(),
    })
}

impl Identity {
    /// The identity of this process.
    ///
    /// # Errors
    /// Fails if /proc cannot be read.
    pub(crate) fn of_self(mark: &str) -> Result<Self> {
        identify(
            i32::try_from(std::process::id()).context("the pid does not fit into an i32")?,
            mark,
        )
    }

    /// Pid and start time, which identify a process within one boot of the host.
    pub(crate) const fn number(&self) -> (i32, u64) {
        (self.pid, self.start_time)
    }

    /// A handle on the process, if it runs and is the recorded one.
    ///
    /// The handle is opened before the checks, so the pid cannot change its owner in between.
    pub(crate) fn open(&self) -> Option<Handle> {
        let fd = pidfd_open(self.pid).ok()?;
        let same = start_time(self.pid) == Some(self.start_time)
            && boot_id().is_ok_and(|id| id == self.boot_id)
            && command_line_holds(self.pid, &self.mark);
        let handle = Handle { fd };
        (same && !handle.has_ended(Duration::ZERO)).then_some(handle)
    }
}

/// A process that was checked to be ours, held by its pidfd.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
}

impl Handle {
    /// Sends a signal. Accepts that the process has ended.
    ///
    /// # Errors
    /// Fails if the kernel refuses the signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let signal = rustix::process::Signal::from_named_raw(signal as i32)
            .context("the signal does not exist")?;
        match rustix::process::pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => bail!("cannot send a signal to a process: {e}"),
        }
    }

    /// Its exit status, if it has ended and the status is available.
    pub(crate) fn exit_status(&self) -> Option<std::process::ExitStatus> {
        super::exit::exit_status(self.fd.as_fd())
    }

    /// Waits up to `for_at_most` for the end of the process, and returns whether it has ended.
    pub(crate) fn has_ended(&self, for_at_most: Duration) -> bool {
        let until = Instant::now() + for_at_most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout) {
                Ok(0) if Instant::now() >= until => return false,
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Like [`Self::has_ended`], for async callers.
    pub(crate) async fn ended(&self, for_at_most: Duration) -> bool {
        let Ok(fd) = self.fd.try_clone() else {
            return self.has_ended(Duration::ZERO);
        };
        // SAFETY: an OwnedFd is open while it lives, and always is the same descriptor.
        let watched = unsafe {
            tokio::io::unix::AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)
        };
        let Ok(watched) = watched else {
            return self.has_ended(Duration::ZERO);
        };
        tokio::time::timeout(for_at_most, watched.readable())
            .await
            .is_ok()
    }
}

pub(super) fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).context("no process has the pid 0")?;
    Ok(rustix::process::pidfd_open(
        pid,
        rustix::process::PidfdFlags::empty(),
    )?)
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may contain anything, so counting starts after its closing
/// bracket.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether all threads of a process stand still because of SIGSTOP: field 3 of `/proc/PID/task/TID/stat`.
pub(crate) fn is_stopped(pid: i32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut tasks = tasks.into_iter().flatten().flatten();
    tasks.all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, after)| after.trim_start());
        // One that has ended runs no more either.
        state.is_none_or(|state| state.starts_with(['T', 't', 'Z', 'X']))
    })
}

/// Whether an argument of the process is `mark` or contains it.
fn command_line_holds(pid: i32, mark: &str) -> bool {
    let Ok(bytes) = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")) else {
        return false;
    };
    bytes.split(|b| *b == 0).any(|arg| arg == mark.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> std::process::Child {
        #[expect(clippy::disallowed_methods, reason = "a process to look at")]
        Command::new("sleep").arg("5077").spawn().unwrap()
    }

    #[test]
    fn p1_a_process_is_ours_only_if_all_four_values_agree() {
        let mut child = sleeper();
        let pid = i32::try_from(child.id()).unwrap();
        // Until exec, the command line is that of this test.
        while !command_line_holds(pid, "5077") {
            std::thread::yield_now();
        }
        let true_one = identify(pid, "5077").unwrap();
        assert!(true_one.open().is_some());
        for wrong in [
            Identity {
                start_time: true_one.start_time + 1,
                ..true_one.clone()
            },
            Identity {
                boot_id: "other".to_owned(),
                ..true_one.clone()
            },
            Identity {
                mark: "507".to_owned(),
                ..true_one.clone()
            },
            Identity {
                pid: 1,
                ..true_one.clone()
            },
        ] {
            assert!(wrong.open().is_none(), "{wrong:?} was taken for ours");
        }
        let handle = true_one.open().unwrap();
        assert!(!is_stopped(pid));
        handle.signal(Signal::SIGSTOP).unwrap();
        while !is_stopped(pid) {
            std::thread::yield_now();
        }
        assert!(!handle.has_ended(Duration::from_millis(1)));
        handle.signal(Signal::SIGKILL).unwrap();
        assert!(handle.has_ended(Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(true_one.open().is_none());
        handle.signal(Signal::SIGKILL).unwrap();
    }
}

//! Finds a process's exit status, also for a process that is not its parent.

#![allow(
    unsafe_code,
    reason = "an ioctl that libc does not define yet, on our own descriptor and structure"
)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

/// `PIDFD_INFO_EXIT` of linux/pidfd.h, since Linux 6.15.
const INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` in its first version, 64 bytes.
#[repr(C)]
#[derive(Debug, Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

// _IOWR(0xFF, 11, struct pidfd_info)
nix::ioctl_readwrite!(pidfd_get_info, 0xFF, 11, PidfdInfo);

/// The exit status of the process behind a pidfd. `None` while it runs, or if its status is not available. It is
/// available to its parent, to others before the parent has reaped it, and since Linux 6.15 to others after that.
///
/// This reaps a child of ours.
pub(super) fn exit_status(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    match waitid(Id::PIDFd(pidfd), flags) {
        Ok(WaitStatus::Exited(_, code)) => return Some(ExitStatus::from_raw((code & 0xff) << 8)),
        Ok(WaitStatus::Signaled(_, signal, _)) => {
            return Some(ExitStatus::from_raw(signal as i32));
        }
        Ok(_) => return None,
        Err(Errno::ECHILD) => {}
        Err(_) => return None,
    }
    let mut info = PidfdInfo {
        mask: INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the structure has the size that the request number encodes.
    let asked = unsafe { pidfd_get_info(pidfd.as_raw_fd(), &raw mut info) };
    if asked.is_ok() && info.mask & INFO_EXIT != 0 {
        return Some(ExitStatus::from_raw(info.exit_code));
    }
    let pid = pid(pidfd)?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // It is still the same process: a pid is reused only after its process was reaped.
    (self::pid(pidfd) == Some(pid)).then(|| of_zombie(&stat))?
}

/// The pid behind a pidfd, until the process is reaped, pidfd_open(2).
fn pid(pidfd: BorrowedFd<'_>) -> Option<u32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|l| l.strip_prefix("Pid:"))?
        .trim()
        .parse()
        .ok()
}

/// Field 52 of `/proc/PID/stat`, if field 3 says that the process is a zombie, proc(5).
fn of_zombie(stat: &str) -> Option<ExitStatus> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    (fields.next()? == "Z").then_some(())?;
    fields.nth(48)?.parse().ok().map(ExitStatus::from_raw)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::super::process::pidfd_open;
    use super::*;

    #[test]
    fn p20_a_zombie_has_an_exit_status() {
        let rest = format!("{}9", "0 ".repeat(48));
        let stat = |state: char| format!("7 (a) Z (b) {state} {rest}\n");
        assert_eq!(of_zombie(&stat('Z')).unwrap().signal(), Some(9));
        assert_eq!(of_zombie(&stat('R')), None);
        assert_eq!(of_zombie("7 (a) Z 1"), None);
        assert_eq!(of_zombie(""), None);
    }

    fn has_ended(fd: &std::os::fd::OwnedFd) -> bool {
        let mut polled = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::from(5000_u16)).unwrap() == 1
    }

    #[test]
    fn p20_a_parent_gets_the_exit_status_of_its_child() {
        for (script, code, signal) in [("exit 7", Some(7), None), ("kill -9 $$", None, Some(9))] {
            #[expect(clippy::disallowed_methods, reason = "a process to look at")]
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let fd = pidfd_open(i32::try_from(child.id()).unwrap()).unwrap();
            assert!(has_ended(&fd));
            let status = exit_status(fd.as_fd()).unwrap();
            assert!(child.wait().is_err(), "it was reaped");
            assert_eq!((status.code(), status.signal()), (code, signal));
        }
    }

    /// A process that is not the parent asks the kernel, which answers since Linux 6.15.
    #[test]
    fn p20_another_process_gets_the_exit_status_where_the_kernel_supports_it() {
        #[expect(clippy::disallowed_methods, reason = "a process to look at")]
        let mut parent = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(parent.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let fd = pidfd_open(line.trim().parse().unwrap()).unwrap();
        assert_eq!(exit_status(fd.as_fd()), None, "it has not ended");
        rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL).unwrap();
        assert!(has_ended(&fd));
        let until = Instant::now() + Duration::from_secs(2);
        let mut status = None;
        while status.is_none() && Instant::now() < until {
            status = exit_status(fd.as_fd());
            std::thread::sleep(Duration::from_millis(10));
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version >= (6, 15) {
            assert_eq!(status.unwrap().signal(), Some(9));
        } else {
            assert_eq!(status, None, "Linux {release} does not tell");
        }
    }
}

//! Keeps the descriptors that kvmc itself inherited from its children.

#![allow(
    unsafe_code,
    reason = "pre_exec: only async-signal-safe system calls run between fork and exec"
)]

use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

/// The first number after the standard streams.
pub(super) const FIRST: RawFd = 3;
/// Descriptors that are looked at one by one on kernels before 5.11.
const MANY: RawFd = 4096;

/// Has every descriptor from `first` on closed at exec. Runs between fork and exec.
///
/// A lock's or a pipe's descriptor that outlives its owner in a keeper or a QEMU would keep the lock, or the reader
/// waiting, for the cluster's life.
pub(super) fn close_from(first: RawFd) {
    let first_number = u32::try_from(first).unwrap_or(u32::MAX);
    // SAFETY: close_range(2) takes integers only.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first_number,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return;
    }
    for fd in first..MANY {
        // SAFETY: fcntl(2) with F_SETFD takes integers only; a number that is not open is an error without effect.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Leaves a child only the standard streams.
pub(crate) fn only_streams(command: &mut Command) {
    // SAFETY: close_from makes only async-signal-safe system calls.
    unsafe {
        command.pre_exec(|| {
            close_from(FIRST);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::process::Stdio;

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a child to look into")]
    fn a_child_does_not_inherit_an_inherited_descriptor() {
        let file = std::fs::File::open("/dev/null").unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let is_open = |only: bool| {
            let mut command = Command::new("sh");
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            command
                .args(["-c", "test -e \"$0\"", &path])
                .stdin(Stdio::null());
            if only {
                only_streams(&mut command);
            }
            command.status().unwrap().success()
        };
        assert!(is_open(false));
        assert!(!is_open(true));
    }
}

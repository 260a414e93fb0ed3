//! How a process ended, for who is not its parent too.

#![allow(
    unsafe_code,
    reason = "an ioctl that libc has no name for yet, on a descriptor and a structure of ours"
)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

/// `PIDFD_INFO_EXIT` of linux/pidfd.h: since Linux 6.15.
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

/// How the process behind a pidfd ended. `None` while it has not, or where neither of the two ways to
/// know is open: to be its parent, or Linux 6.15 once its parent has reaped it.
///
/// A child of ours is reaped by this.
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
    // SAFETY: the structure is of the size that the request number says.
    let asked = unsafe { pidfd_get_info(pidfd.as_raw_fd(), &raw mut info) };
    (asked.is_ok() && info.mask & INFO_EXIT != 0).then(|| ExitStatus::from_raw(info.exit_code))
}

//! Takes the rights of a child, between fork and exec.

#![allow(
    unsafe_code,
    reason = "only async-signal-safe system calls run between fork and exec"
)]

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

/// No core dump at all. With 0, the kernel would still pipe one to a program of the host's, core(5); it takes 1 for a
/// dump of such a program itself.
const NO_CORE: u64 = 1;
/// Most descriptors of a QEMU. Its disks, taps and sockets are some dozens.
const MOST_FILES: u64 = 4096;
/// Most threads of a QEMU's user, who is of this QEMU alone: one for each vcpu, and 64 for each disk that is busy.
const MOST_THREADS: u64 = 2048;

/// The user and group of a child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    /// Equal to the uid, or the group of `/dev/kvm` if not everybody may open that.
    pub(crate) gid: u32,
    /// The kernel kills the child when the thread that starts it ends.
    pub(crate) dies_with_us: bool,
}

/// Runs in the child between fork and exec. The ids come last, because the other calls need the privileges that they
/// remove.
pub(super) fn confine(who: Credentials) -> Result<(), Errno> {
    nix::unistd::setsid()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    limit()?;
    nix::sys::prctl::set_no_new_privs()?;
    // The kernel refuses the first capability number that it does not know.
    for capability in 0..64 {
        // SAFETY: prctl with integers only.
        if unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
    nix::unistd::setgroups(&[])?;
    let gid = Gid::from_raw(who.gid);
    nix::unistd::setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(who.uid);
    nix::unistd::setresuid(uid, uid, uid)?;
    if who.dies_with_us {
        // This comes after the change of ids, which would clear it, prctl(2).
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    }
    Ok(())
}

/// Bounds what it can take of the host. Its disks need no bound here: a qcow2 image does not grow much beyond its
/// virtual size, and QEMU has no other file to write.
fn limit() -> Result<(), Errno> {
    // A user may be limited to 0, as by sudo. Only CAP_SYS_RESOURCE raises that, which a container's root may lack.
    if setrlimit(Resource::RLIMIT_CORE, NO_CORE, NO_CORE).is_err() {
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    }
    setrlimit(Resource::RLIMIT_MSGQUEUE, 0, 0)?;
    for (what, most) in [
        (Resource::RLIMIT_NOFILE, MOST_FILES),
        (Resource::RLIMIT_NPROC, MOST_THREADS),
    ] {
        let (_, hard) = getrlimit(what)?;
        let most = most.min(hard);
        setrlimit(what, most, most)?;
    }
    Ok(())
}

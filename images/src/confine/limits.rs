//! What a program gets and loses between fork and exec. Only system calls on values that the parent has prepared.

#![allow(
    unsafe_code,
    reason = "only async-signal-safe system calls run between fork and exec"
)]

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::table::Limits;
use super::{filter, rules};

/// A core dump of 1 byte is none, also where the kernel pipes dumps to a program, core(5).
const NO_CORE: u64 = 1;
/// Most descriptors. A chain has some dozens of images.
const MOST_FILES: u64 = 256;
/// The stack of each thread, in bytes. qemu-img has up to 64 of them, and their stacks count as its memory.
const STACK: u64 = 1 << 20;
/// The capability that stays: a user's image may be readable for that user only, capabilities(7).
const DAC_READ_SEARCH: libc::c_ulong = 2;

/// Everything that a program is confined by.
#[derive(Debug)]
pub(super) struct Confinement {
    limits: Limits,
    rules: Option<OwnedFd>,
    filter: seccompiler::BpfProgram,
}

impl Confinement {
    /// Prepares it for a program by its name. A program that is a script gets limits only.
    pub(super) fn prepare(
        program: &str,
        limits: Limits,
        reads: &[&Path],
        writes: &[&Path],
    ) -> Self {
        let Some(program) = rules::find(program) else {
            return Self {
                limits,
                rules: None,
                filter: Vec::new(),
            };
        };
        let opens = rules::Opens {
            program: &program,
            reads,
            writes,
        };
        Self {
            limits,
            rules: rules::rules(&opens),
            filter: filter::program(),
        }
    }

    /// Makes the program of a command take it on.
    pub(super) fn put_on(self, command: &mut Command) {
        // Each further arena of malloc reserves 64 MiB.
        command.env("MALLOC_ARENA_MAX", "2");
        // SAFETY: only system calls on integers and on what lives in `self`.
        unsafe {
            command.pre_exec(move || {
                self.enter();
                Ok(())
            });
        }
    }

    /// What the host does not give is left out.
    fn enter(&self) {
        self.limit();
        for capability in 0..64 {
            if capability != DAC_READ_SEARCH {
                // SAFETY: prctl with integers only.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            }
        }
        let _always_allowed = nix::sys::prctl::set_no_new_privs();
        if let Some(rules) = &self.rules {
            allow_mounts(rules.as_raw_fd());
            // SAFETY: landlock_restrict_self(2) takes a descriptor, which is open, and flags.
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
        }
        if !self.filter.is_empty() {
            let _kernel_without_filters = seccompiler::apply_filter(&self.filter);
        }
    }

    fn limit(&self) {
        let memory = match self.limits.is_mapped {
            true => Resource::RLIMIT_AS,
            false => Resource::RLIMIT_DATA,
        };
        for (what, most) in [
            (memory, self.limits.memory),
            (Resource::RLIMIT_STACK, STACK),
            (Resource::RLIMIT_FSIZE, self.limits.written),
            (Resource::RLIMIT_NOFILE, MOST_FILES),
            (Resource::RLIMIT_MSGQUEUE, 0),
            (Resource::RLIMIT_MEMLOCK, 0),
        ] {
            let hard = getrlimit(what).map_or(most, |(_, hard)| hard);
            let most = most.min(hard);
            let _lower_than_before = setrlimit(what, most, most);
        }
        // SIGXCPU at the first, SIGKILL at the second.
        let seconds = self.limits.seconds;
        let _lower_than_before = setrlimit(Resource::RLIMIT_CPU, seconds, seconds + 1);
        if setrlimit(Resource::RLIMIT_CORE, NO_CORE, NO_CORE).is_err() {
            let _as_low_as_can_be = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        }
    }
}

/// The kernel's `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: RawFd,
}

/// Lets the process read its own list of mounts, in which e2fsprogs look for the disk. Only the process itself has it.
fn allow_mounts(rules: RawFd) {
    const READ_FILE: u64 = 1 << 2;
    const RULE_PATH_BENEATH: libc::c_int = 1;
    let mode = nix::sys::stat::Mode::empty();
    let Ok(mounts) = nix::fcntl::open(c"/proc/self/mounts", OFlag::O_PATH, mode) else {
        return;
    };
    let rule = PathBeneath {
        allowed_access: READ_FILE,
        // It stays open, so that the kernel keeps the file that the rule is for.
        parent_fd: mounts.into_raw_fd(),
    };
    // SAFETY: landlock_add_rule(2) reads the rule, which lives until it returns.
    unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules,
            RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
}

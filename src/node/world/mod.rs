//! What a QEMU sees of the host: namespaces of its own, a root with nothing but what its program reads, Landlock and a
//! filter of system calls beside QEMU's own.
//!
//! The parent prepares all of it as plain values ([`World::prepare`]), because the child may only make system calls
//! between fork and exec ([`enter`]). A layer that the host does not give is left out and told ([`Layers`]). When QEMU
//! has started, its root is emptied (`src/node/close.rs`).

mod elf;
mod enter;
mod filter;
mod landlock;
mod layers;
#[cfg(test)]
mod qemu_tests;
mod root;

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

pub(super) use self::enter::{enter, in_pid_namespace, tell};
pub(super) use self::layers::shares;
pub(crate) use self::layers::{Layers, seen};
use self::root::Root;
pub(super) use self::root::{NAME, shown_for_tests};

/// Everything that the child needs to enter its world.
#[derive(Debug)]
pub(super) struct World {
    /// None if the program is a script, whose interpreter may read anything.
    root: Option<Root>,
    /// A set of Landlock's rules, if the kernel has them.
    rules: Option<OwnedFd>,
    /// A program for seccomp(2).
    filter: seccompiler::BpfProgram,
}

impl World {
    /// Prepares the world of `program`. Its root is built over `folder`, which must exist and stays as it is for all
    /// others. `passed` are the descriptors that the program gets and may open again by `/proc/self/fd`.
    pub(super) fn prepare(program: &Path, folder: &Path, passed: &[OwnedFd]) -> Self {
        let root = Root::of(program, folder);
        let rules = root
            .as_ref()
            .and_then(|root| landlock::rules(root, passed).ok().flatten());
        Self {
            root,
            rules,
            filter: filter::program(),
        }
    }

    /// Gives the descriptor of the rules a number from `first` on, where none that is passed takes its place.
    pub(super) fn lift(mut self, first: i32) -> Result<Self> {
        self.rules = self.rules.map(|rules| lift(&rules, first)).transpose()?;
        Ok(self)
    }
}

#[allow(unsafe_code, reason = "nix gives a duplicate as a number")]
fn lift(fd: &OwnedFd, first: i32) -> Result<OwnedFd> {
    let lifted = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(first)).context("no descriptor is free")?;
    // SAFETY: fcntl has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// A pipe by which the child tells its layers. Its writing end has a number from `first` on.
pub(super) fn pipe(first: i32) -> Result<(OwnedFd, OwnedFd)> {
    let (reading, writing) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("no pipe can be made")?;
    Ok((reading, lift(&writing, first)?))
}

/// What a child told that has run its program.
pub(super) fn told(reading: OwnedFd) -> Layers {
    let mut bytes = [0; 2];
    match File::from(reading).read_exact(&mut bytes) {
        Ok(()) => Layers::from_bytes(bytes),
        Err(_) => Layers::default(),
    }
}

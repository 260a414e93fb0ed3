//! Landlock's rules for a QEMU, by the landlock crate: what it may open, and nothing else. They hold beside its root,
//! and alone where the host gives no mount namespace.

use std::os::fd::OwnedFd;

use anyhow::Result;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, Scope,
};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::root::{Kind, Root};

/// The newest rights that the crate knows. It leaves out those that the kernel does not know.
const NEWEST: ABI = ABI::V10;

/// The rules, as a descriptor for landlock_restrict_self(2); none if the kernel has no Landlock.
///
/// # Errors
/// Fails if the kernel refuses what it has said that it knows.
pub(super) fn rules(root: &Root, passed: &[OwnedFd]) -> Result<Option<OwnedFd>> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for shown in root.shown() {
        let Ok(path) = PathFd::new(shown.from.as_path()) else {
            continue;
        };
        let access = match shown.kind {
            Kind::Program => AccessFs::ReadFile | AccessFs::Execute,
            Kind::Folder => read,
            // Its loader and the program behind a wrapper are in there too.
            Kind::Store => read | AccessFs::Execute,
            Kind::File => AccessFs::ReadFile.into(),
            Kind::Device => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
            Kind::Writable => AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute),
        };
        rules = rules.add_rule(PathBeneath::new(path, access))?;
    }
    for file in passed {
        open_again(&mut rules, file);
    }
    Ok(rules.into())
}

/// Allows a passed file to be opened again as it is open, which is how QEMU reads a kernel. The kernel refuses rules
/// for a memfd, which it never restricts.
fn open_again(rules: &mut RulesetCreated, file: &OwnedFd) {
    let is_file = fstat(file)
        .is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG);
    if !is_file {
        return;
    }
    let flags = fcntl(file, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_truncate);
    let mut access: BitFlags<AccessFs> = AccessFs::ReadFile.into();
    if flags & OFlag::O_ACCMODE != OFlag::O_RDONLY {
        access |= AccessFs::WriteFile | AccessFs::Truncate;
    }
    let _refused_for_a_memfd = rules.add_rule(PathBeneath::new(file, access));
}

//! The child's way into its world, between fork and exec. Only system calls on values that the parent has prepared.

#![allow(
    unsafe_code,
    reason = "system calls without a binding, with integers and prepared values only"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use super::World;
use super::layers::{Layer, Layers};
use super::root::{Mount, MountKind, NAME, Root};

/// A mount of the root that is read and nothing else.
const READ_ONLY: MsFlags = MsFlags::MS_BIND
    .union(MsFlags::MS_REMOUNT)
    .union(MsFlags::MS_RDONLY)
    .union(MsFlags::MS_NOSUID);
const NO_NAME: Option<&CStr> = None;
/// The host's name is none of a guest's business.
const HOST_NAME: &CStr = c"kvmc";

/// Namespaces that only need to be made.
const NAMESPACES: [(CloneFlags, Layer); 3] = [
    (CloneFlags::CLONE_NEWIPC, Layer::Ipc),
    (CloneFlags::CLONE_NEWUTS, Layer::Uts),
    (CloneFlags::CLONE_NEWNET, Layer::Net),
];

/// Runs `start` so that the processes that it makes are in a PID namespace of their own, the first as its number 1. Says
/// whether there is one.
///
/// # Errors
/// Fails if this thread cannot return to its own namespace.
pub(in crate::node) fn in_pid_namespace<T>(start: impl FnOnce(bool) -> T) -> std::io::Result<T> {
    let own = std::fs::File::open("/proc/self/ns/pid").ok();
    // In a user namespace, root may leave a PID namespace that it cannot come back to.
    let own = own.filter(|own| setns(own, CloneFlags::CLONE_NEWPID).is_ok());
    let is_new = own.is_some() && unshare(CloneFlags::CLONE_NEWPID).is_ok();
    let started = start(is_new);
    if let (true, Some(own)) = (is_new, own) {
        // Without it this thread could start no thread any more.
        setns(own, CloneFlags::CLONE_NEWPID)?;
    }
    Ok(started)
}

/// Makes the namespaces and the root. Needs the rights that the child gives up afterwards.
///
/// # Errors
/// Fails if the host's root cannot be left behind. What the host does not give at all is no error.
pub(in crate::node) fn enter(world: &World, has_pids: bool) -> Result<Layers, Errno> {
    let mut layers = Layers::default();
    // Of the root's folders, which another user must pass. What comes after it sets its own.
    nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
    if has_pids {
        layers.add(Layer::Pids);
    }
    for (flag, layer) in NAMESPACES {
        if unshare(flag).is_ok() {
            layers.add(layer);
        }
    }
    if layers.has(Layer::Uts) {
        let name = HOST_NAME.to_bytes();
        // SAFETY: the name lives as long as the program, and is so long.
        unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    }
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        return Ok(layers);
    }
    layers.add(Layer::Mounts);
    let apart = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    if mount(NO_NAME, c"/", NO_NAME, apart, NO_NAME).is_err() {
        return Ok(layers);
    }
    if let Some(root) = &world.root
        && build(root, has_pids)?
    {
        layers.add(Layer::Root);
    }
    Ok(layers)
}

impl World {
    /// Takes on what no process can take off. Needs no rights, and comes after their loss: the rules would forbid what
    /// comes before.
    pub(in crate::node) fn shut(&self, layers: &mut Layers) {
        // SAFETY: keyctl(2) with KEYCTL_JOIN_SESSION_KEYRING (1) and no name makes a keyring, and reads no memory.
        let joined = unsafe { libc::syscall(libc::SYS_keyctl, 1, 0, 0, 0, 0) };
        // A kernel without keyrings has none to be kept from.
        if joined >= 0 || Errno::last() == Errno::ENOSYS {
            layers.add(Layer::Keyring);
        }
        if let Some(rules) = &self.rules {
            // SAFETY: landlock_restrict_self(2) takes a descriptor, which is open, and flags.
            let shut =
                unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
            if shut == 0 {
                layers.add(Layer::Landlock);
            }
        }
        if !self.filter.is_empty() && seccompiler::apply_filter(&self.filter).is_ok() {
            layers.add(Layer::Filter);
        }
    }
}

/// Tells the parent which layers there are.
pub(in crate::node) fn tell(to: RawFd, layers: Layers) {
    let bytes = layers.to_bytes();
    // SAFETY: the bytes are there, and so many.
    let _parent_gone = unsafe { libc::write(to, bytes.as_ptr().cast(), bytes.len()) };
}

/// Builds the root over its folder and makes it this process's. Leaves the host's root where that cannot be done, and
/// says so.
fn build(root: &Root, has_pids: bool) -> Result<bool, Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let over = root.over.as_c_str();
    let options = Some(c"mode=0755,size=64k,nr_inodes=256");
    let name = Some(NAME);
    if mount(name, over, Some(c"tmpfs"), flags, options).is_err() {
        return Ok(false);
    }
    let is_filled = fill(root, has_pids).is_ok();
    if !is_filled || nix::unistd::pivot_root(c".", c".").is_err() {
        nix::unistd::chdir(c"/")?;
        umount2(over, MntFlags::MNT_DETACH)?;
        return Ok(false);
    }
    // The host's root now lies over this one, and must not stay there.
    umount2(c".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir(c"/")?;
    mount(NO_NAME, c"/", NO_NAME, READ_ONLY | flags, NO_NAME)?;
    Ok(true)
}

fn fill(root: &Root, has_pids: bool) -> Result<(), Errno> {
    nix::unistd::chdir(root.over.as_c_str())?;
    for folder in &root.folders {
        match nix::unistd::mkdir(folder.as_c_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    for (target, at) in &root.links {
        nix::unistd::symlinkat(target.as_c_str(), nix::fcntl::AT_FDCWD, at.as_c_str())?;
    }
    for shown in &root.mounts {
        show(shown)?;
    }
    process_files(has_pids)
}

fn show(shown: &Mount) -> Result<(), Errno> {
    let at = shown.at.as_c_str();
    let is_file = matches!(shown.kind, MountKind::File | MountKind::Device);
    if is_file {
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        drop(nix::fcntl::open(
            at,
            flags,
            Mode::from_bits_truncate(0o444),
        )?);
    }
    let from = Some(shown.from.as_c_str());
    mount(from, at, NO_NAME, MsFlags::MS_BIND, NO_NAME)?;
    let flags = match shown.kind {
        MountKind::Folder | MountKind::File => READ_ONLY | MsFlags::MS_NODEV,
        // A device can be written on a read-only mount.
        MountKind::Device => READ_ONLY | MsFlags::MS_NOEXEC,
        MountKind::Writable => return Ok(()),
    };
    mount(NO_NAME, at, NO_NAME, flags, NO_NAME)
}

/// Mounts a /proc in which QEMU sees itself, for the descriptors that it opens by path.
fn process_files(has_pids: bool) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let proc = Some(c"proc");
    // In the host's PID namespace, a kernel before 5.8 would give these options to the host's /proc too.
    if has_pids {
        let options = Some(c"hidepid=2,subset=pid");
        if mount(proc, c"proc", proc, flags, options).is_ok() {
            return Ok(());
        }
    }
    mount(proc, c"proc", proc, flags, NO_NAME)
}

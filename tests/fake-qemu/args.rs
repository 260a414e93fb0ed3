//! The parts of QEMU's command line that the fake uses.

use std::collections::HashMap;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

#[derive(Debug, Default)]
pub(crate) struct Args {
    /// The node's name: `master0` of `kvmc-k80-master0@…`. A machine that will be frozen is `freeze`.
    pub(crate) node: String,
    pub(crate) wants_kvm: bool,
    pub(crate) incoming: bool,
    pub(crate) no_reboot: bool,
    /// The descriptor of memory in a file, and whether the memory is shared.
    pub(crate) memory: Option<(RawFd, bool)>,
    /// Listening sockets by the chardev's id.
    pub(crate) sockets: HashMap<String, RawFd>,
    pub(crate) tap: Option<RawFd>,
    pub(crate) mac: Option<[u8; 6]>,
    /// The last added descriptor set.
    added: Option<RawFd>,
    /// The descriptor of the writable image: the set before the first disk.
    disk: Option<RawFd>,
    /// The block nodes of the writable images of its disks.
    pub(crate) drives: Vec<String>,
    /// MiB of memory.
    pub(crate) ram: usize,
    /// The guest has a seed disk with its identity for cloud-init.
    pub(crate) has_seed: bool,
}

impl Args {
    pub(crate) fn parse(all: &[String]) -> Self {
        let mut args = Self::default();
        let mut words = all.iter();
        while let Some(switch) = words.next() {
            match switch.as_str() {
                "-incoming" => {
                    args.incoming = true;
                    words.next();
                }
                "-no-reboot" => args.no_reboot = true,
                "-nodefaults" | "-no-user-config" | "-S" | "-probe" => {}
                other if other.starts_with('-') => {
                    let value = words.next().map(String::as_str).unwrap_or_default();
                    args.take(other, value);
                }
                other => {
                    eprintln!("qemu-system-x86_64: {other}: no image is given so");
                    std::process::exit(1);
                }
            }
        }
        args
    }

    fn take(&mut self, switch: &str, value: &str) {
        let head = value.split(',').next().unwrap_or_default();
        let key = |name: &str| {
            value
                .split(',')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let fd = || key("fd").and_then(|fd| fd.parse().ok());
        match (switch, head) {
            ("-name", _) => {
                let name = key("guest").unwrap_or_default();
                // kvmc-CLUSTER-NODE, with a mark of the state folder after it.
                let name = name.split('@').next().unwrap_or_default();
                self.node = name.rsplit('-').next().unwrap_or_default().to_owned();
            }
            ("-accel", "kvm") => self.wants_kvm = true,
            ("-chardev", "socket") => {
                if let (Some(id), Some(fd)) = (key("id"), fd()) {
                    self.sockets.insert(id, fd);
                }
            }
            // The fake serves the first NIC. The others stay open and silent.
            ("-netdev", "tap") => self.tap = self.tap.or_else(fd),
            ("-device", "virtio-net-pci") => {
                self.mac = self.mac.or_else(|| key("mac").map(|m| mac(&m)));
            }
            ("-object", "memory-backend-file") => {
                let path = key("mem-path").unwrap_or_default();
                let fd = path.rsplit('/').next().and_then(|fd| fd.parse().ok());
                self.memory = fd.map(|fd| (fd, key("share").as_deref() == Some("on")));
            }
            ("-m", _) => {
                let digits = head.trim_start_matches("size=").trim_end_matches('M');
                self.ram = digits.parse().unwrap_or(0);
            }
            ("-add-fd", _) => self.added = fd(),
            ("-device", "virtio-blk-pci") => {
                self.disk = self.disk.or(self.added);
                let drive = key("drive").unwrap_or_default();
                self.has_seed |= drive == "seed";
                if drive != "seed" {
                    self.drives.push(drive);
                }
            }
            _ => {}
        }
    }

    /// Writes another virtual size into the disk's header, as QEMU does (docs/interop/qcow2.txt: bytes 24 to 31).
    pub(crate) fn resize_disk(&self, size: u64) -> std::io::Result<()> {
        let Some(fd) = self.disk else { return Ok(()) };
        // The descriptor stays open for the lock.
        let disk = std::mem::ManuallyDrop::new(std::fs::File::from(unsafe_fd(fd)));
        std::os::unix::fs::FileExt::write_all_at(&*disk, &size.to_be_bytes(), 24)
    }

    /// Maps the guest's memory where kvmc looks for it. Nothing of it is touched.
    #[allow(unsafe_code, reason = "a mapping that lasts as long as the program")]
    pub(crate) fn map_memory(&self) {
        use std::os::fd::BorrowedFd;

        use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous};
        let Some(length) = std::num::NonZeroUsize::new(self.ram << 20) else {
            return;
        };
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let private = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        let mapped = match self.memory {
            // SAFETY: nobody else uses the address; the descriptor stays open.
            Some((fd, false)) => unsafe {
                mmap(None, length, prot, private, BorrowedFd::borrow_raw(fd), 0)
            },
            Some((_, true)) => return,
            // SAFETY: nobody else uses the address.
            None => unsafe { mmap_anonymous(None, length, prot, private) },
        };
        let Ok(address) = mapped else {
            eprintln!("qemu-system-x86_64: cannot set up guest memory");
            std::process::exit(1);
        };
        // SAFETY: the mapping is this long. As QEMU's, no child gets it, and no neighbour joins it.
        let _older_kernel = unsafe {
            nix::sys::mman::madvise(
                address,
                length.get(),
                nix::sys::mman::MmapAdvise::MADV_DONTFORK,
            )
        };
    }

    /// Locks the disk as QEMU does, so that a second QEMU on it ends.
    pub(crate) fn lock_disk(&self) {
        use nix::libc;
        let Some(fd) = self.disk else { return };
        // QEMU's RAW_LOCK_SHARED_BASE and the bit for writing, block/file-posix.c.
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 201,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY of the descriptor: it was passed to this program, and nothing else owns it.
        let disk = unsafe_fd(fd);
        let locked = nix::fcntl::fcntl(&disk, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock));
        std::mem::forget(disk);
        if locked.is_err() {
            eprintln!(
                "qemu-system-x86_64: Failed to get \"write\" lock\nIs another process using the image?"
            );
            std::process::exit(1);
        }
    }
}

pub(crate) fn mac(text: &str) -> [u8; 6] {
    let mut mac = [0; 6];
    for (to, part) in mac.iter_mut().zip(text.split(':')) {
        *to = u8::from_str_radix(part, 16).unwrap_or_default();
    }
    mac
}

/// A descriptor that was passed by number.
#[allow(unsafe_code, reason = "descriptors are passed to QEMU by number")]
pub(crate) fn unsafe_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller passed it for this use alone, and each is taken once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

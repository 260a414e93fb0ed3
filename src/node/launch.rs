//! Starts a node's QEMU from its disks, memory, sockets and taps.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kvmc_images::{Boot, Image, agent, kernel_command_line};
use kvmc_netns::MacAddr;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::cmdline::{
    Accel, CommandLine, Cpu, Device, Global, Kernel, Machine, Memory, NetBackend, Smp,
};
use super::confine::Credentials;
use super::cpu::node_cpu;
use super::disks::{disks, extra_disks, read_only, read_write};
use super::firmware::uefi;
use super::nics::ConnectedNic;
use super::process::{Passed, Running, Start, spawn};
use super::scan::qemu_name;
use crate::failpoint::failpoint;
use crate::host::{TB_SIZE, cores, kvm_group, qemu_program};
use crate::model::Accelerator;
use crate::spec::Bytes;
use crate::state::{NodeDir, NodeRecord, namespace, remove_file, replace, replace_json_unsynced};

/// QEMU never runs this kernel. It reads only its header (Linux's boot protocols of x86 and arm64), if the kernel is
/// not compressed as a whole. It reads nothing of the initrd.
const HEAD: u64 = 64 << 10;
/// The MAC address of a machine to freeze, which never sends anything.
pub(crate) fn template_mac(number: usize) -> MacAddr {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    MacAddr([0x52, 0x54, 0, 0, 1, last])
}

/// A generation id that never changes, see [`unsafe_no_reseed`].
const TEMPLATE_GUID: &str = "00000000-0000-4000-8000-000000000000";

/// A negative control for the tests only: woken nodes keep the random state of the frozen machine, and share it.
pub(crate) fn unsafe_no_reseed() -> bool {
    std::env::var_os("KVMC_UNSAFE_NO_RESEED").is_some_and(|v| v == "1")
}

/// The number of vcpus of a node. Under emulation it is at most the number of host cores, because more would be very
/// slow.
pub(crate) fn vcpus(asked: u32, accelerator: &Accelerator) -> u32 {
    if accelerator.is_kvm() {
        asked
    } else {
        asked.min(cores())
    }
}

/// The source of a guest's memory.
#[derive(Debug)]
pub(crate) enum MemorySource {
    /// Zeroed pages: the guest boots.
    Boot,
    /// Pages that others will map: the guest boots and is frozen later.
    Freeze(File),
    /// A frozen guest's pages, mapped privately. QEMU waits for the device state over QMP.
    Wake(File),
    /// A saved guest's pages come with its state, for which QEMU waits. They lie over those of a frozen guest if the
    /// saved one had woken from it, else over zeroed pages.
    Restore(Option<File>),
}

impl MemorySource {
    const fn awaits_state(&self) -> bool {
        matches!(self, Self::Wake(_) | Self::Restore(_))
    }

    /// The file with the memory, and whether what the guest writes goes there.
    fn file(self) -> Option<(File, bool)> {
        match self {
            Self::Boot | Self::Restore(None) => None,
            Self::Freeze(file) => Some((file, true)),
            Self::Wake(file) | Self::Restore(Some(file)) => Some((file, false)),
        }
    }
}

/// The backends of the NICs.
#[derive(Debug)]
pub(crate) enum Nics {
    Taps(Vec<ConnectedNic>),
    /// This many NICs without a connection.
    Nowhere(usize),
}

impl Nics {
    fn add_to(self, line: &mut CommandLine, passed: &mut Passed) {
        match self {
            Self::Taps(nics) => {
                for (number, ConnectedNic { tap, mac }) in nics.into_iter().enumerate() {
                    line.add_nic(number, NetBackend::Tap(passed.pass(tap)), mac);
                }
            }
            Self::Nowhere(count) => {
                for number in 0..count {
                    line.add_nic(number, NetBackend::Hub(number), template_mac(number));
                }
            }
        }
    }
}

/// The parts of a QEMU. The same parts give the same devices at the same addresses, which a frozen state needs.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) uuid: &'a str,
    pub(crate) image: &'a Image,
    pub(crate) accelerator: &'a Accelerator,
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    /// QEMU's `-cpu`.
    pub(crate) cpu: String,
    pub(crate) source: MemorySource,
    /// The writable image first, then its backing files.
    pub(crate) disks: Vec<File>,
    /// Further disks, each the writable image first, then those below it.
    pub(crate) extra: Vec<Vec<File>>,
    pub(crate) nics: Nics,
    /// The disk with cloud-init's seed.
    pub(crate) seed: Option<File>,
    /// UEFI's code and variables, if the image boots by UEFI.
    pub(crate) pflash: Option<[File; 2]>,
    pub(crate) qmp: UnixListener,
    pub(crate) console: UnixListener,
    pub(crate) agent: UnixListener,
}

impl Parts<'_> {
    /// QEMU's arguments, and the descriptors that they name.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub(crate) fn assemble(self) -> Result<(Vec<String>, Passed)> {
        let mut passed = Passed::default();
        let mut line = CommandLine::new(self.name, self.uuid);
        let architecture = self.image.architecture;
        let platform = architecture.platform();
        let awaits_state = self.source.awaits_state();
        let memory_backend = self.source.file();
        // Such a QEMU never boots.
        let is_woken = awaits_state && memory_backend.is_some();
        let memory_backend = memory_backend.map(|(file, share)| (passed.pass(file), share));
        line.add(&Machine {
            kind: platform.qemu.machine,
            has_backend: memory_backend.is_some(),
            has_pflash: self.pflash.is_some(),
        });
        if let Some((fd, share)) = memory_backend {
            line.add_memory_backend(fd, self.ram.0, share);
        }
        line.add(&if self.accelerator.is_kvm() {
            Accel::Kvm
        } else {
            Accel::Tcg { tb_size: TB_SIZE }
        });
        if !self.accelerator.is_kvm() {
            // Under emulation a virtqueue kick is then a function call. With an eventfd it would wait for another
            // thread.
            line.add(&Global {
                driver: "virtio-pci",
                property: "ioeventfd",
                value: "off",
            });
        }
        line.add(&Cpu(self.cpu));
        line.add(&Smp { cpus: self.vcpus });
        line.add(&Memory {
            size: self.ram.as_mib(),
        });
        if let Some(files) = self.pflash {
            let [code, variables] = files.map(|f| passed.pass(f));
            line.add_pflash(code, variables);
        }
        let is_direct = self.image.boot == Boot::Direct;
        if is_direct {
            let file = if is_woken { head } else { read_only };
            let kernel = Kernel {
                kernel: passed.pass(file(&self.image.kernel())?),
                initrd: passed.pass(file(&self.image.initrd())?),
                append: kernel_command_line(architecture, !self.accelerator.is_kvm()),
            };
            for switch in &kernel.switches() {
                line.add(switch);
            }
        }
        line.add_monitor(passed.pass(self.qmp));
        line.add_console(passed.pass(self.console));
        line.add_port(agent::PORT, passed.pass(self.agent));
        let disks: Vec<_> = self.disks.into_iter().map(|d| passed.pass(d)).collect();
        line.add_disk(&disks, !is_direct);
        for (number, images) in (1..).zip(self.extra) {
            let images: Vec<_> = images.into_iter().map(|d| passed.pass(d)).collect();
            line.add_extra_disk(number, &images);
        }
        self.nics.add_to(&mut line, &mut passed);
        if let Some(seed) = self.seed {
            line.add_seed(passed.pass(seed));
        }
        line.add_rng();
        line.add_panic_notifier();
        if platform.has_vmgenid {
            line.add(&generation_id());
        }
        if awaits_state {
            line.await_state();
        }
        Ok((line.build(), passed))
    }
}

/// Tells the guest's kernel that it is a copy, so that it reseeds its random numbers.
fn generation_id() -> Device {
    let guid = if unsafe_no_reseed() {
        TEMPLATE_GUID
    } else {
        "auto"
    };
    Device::new("vmgenid").with("guid", guid)
}

/// The input for starting a node.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) node: &'a NodeRecord,
    pub(crate) dir: &'a NodeDir,
    /// The folder for its sockets and the files about its process: that of the node, or another while it stands by.
    pub(crate) at: &'a NodeDir,
    pub(crate) image: &'a Image,
    /// The backing files of the node's disk, the nearest first.
    pub(crate) backing: &'a [PathBuf],
    pub(crate) accelerator: &'a Accelerator,
    pub(crate) nics: Vec<ConnectedNic>,
    pub(crate) source: MemorySource,
}

/// Starts the node's QEMU, paused, and records its process.
///
/// # Errors
/// Fails if a file or socket cannot be opened, or if QEMU cannot be started.
pub(crate) fn launch(launch: Launch<'_>) -> Result<Running> {
    let Launch {
        cluster,
        node,
        dir,
        at,
        image,
        backing,
        accelerator,
        nics,
        source,
    } = launch;
    let disks = disks(&dir.images_of(node, 0), backing)?;
    match source {
        // From here on the disk may change and would not fit the frozen memory any more.
        MemorySource::Wake(_) => fs_err::rename(dir.asleep(), dir.waking())?,
        _ => {
            remove_file(&at.asleep())?;
            remove_file(&at.waking())?;
        }
    }
    let parts = Parts {
        name: &qemu_name(cluster, &node.name, &dir.tag(), namespace()?),
        uuid: &node.uuid,
        image,
        accelerator,
        vcpus: vcpus(node.vcpus, accelerator),
        ram: node.ram,
        cpu: node_cpu(node, accelerator, image.architecture),
        source,
        disks,
        extra: extra_disks(node, dir)?,
        nics: Nics::Taps(nics),
        seed: node.seeded.then(|| read_only(&dir.seed())).transpose()?,
        pflash: pflash(image, &at.uefi_variables())?,
        qmp: listen(&at.qmp_socket())?,
        console: listen(&at.console_socket())?,
        agent: listen(&at.agent_socket())?,
    };
    let (args, mut passed) = parts.assemble()?;
    passed.stands_by = at != dir;
    let log = create_log(&at.qemu_log())?;
    let who = credentials(node.uid, accelerator);
    let program = qemu_program(image.architecture);
    failpoint!("up.qemu.prepared");
    let mut running = spawn(Start {
        program: &program,
        args: &args,
        passed,
        who,
        folder: at.path(),
        log,
        mark: &node.uuid,
    })?;
    if let Err(e) = write_down(&running, at) {
        running.kill();
        return Err(e);
    }
    Ok(running)
}

/// UEFI's code and a machine's variables, which are created if they are missing.
///
/// # Errors
/// Fails if the firmware is not installed, or if a file cannot be written.
pub(crate) fn pflash(image: &Image, variables: &Path) -> Result<Option<[File; 2]>> {
    if image.boot != Boot::Uefi {
        return Ok(None);
    }
    let (code, template) = uefi(image.architecture)?;
    if !variables.exists() {
        replace(variables, &fs_err::read(&template)?, 0o600)?;
    }
    Ok(Some([read_only(&code)?, read_write(variables)?]))
}

fn write_down(running: &Running, dir: &NodeDir) -> Result<()> {
    failpoint!("up.qemu");
    replace_json_unsynced(&dir.process(), &running.identity, 0o600)?;
    failpoint!("up.qemu.recorded");
    Ok(())
}

/// The user and group of a QEMU.
pub(crate) fn credentials(uid: u32, accelerator: &Accelerator) -> Credentials {
    let gid = if accelerator.is_kvm() {
        kvm_group().unwrap_or(uid)
    } else {
        uid
    };
    Credentials {
        uid,
        gid,
        dies_with_us: false,
    }
}

/// Makes an empty log for QEMU's output.
///
/// # Errors
/// Fails if the file cannot be made.
pub(crate) fn create_log(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// The head of a kernel or an initrd. QEMU would read whole files into its own memory, 12 and 2 MB a node.
fn head(path: &Path) -> Result<File> {
    let mut bytes = Vec::new();
    read_only(path)?
        .take(HEAD)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let fd = memfd_create(c"kvmc-head", MFdFlags::MFD_CLOEXEC).context("cannot make a memfd")?;
    let mut file = File::from(fd);
    file.write_all(&bytes).context("cannot write a memfd")?;
    Ok(file)
}

/// Listens before QEMU starts, so that no other process can take the path and connecting never fails.
///
/// # Errors
/// Fails if the socket cannot be made.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    remove_file(path)?;
    UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

//! One node from its parts: disks, memory, sockets and a tap in, a running QEMU out.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kvmc_images::{Boot, Image, agent, kernel_command_line, qcow2};
use kvmc_netns::MacAddr;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::cmdline::{
    Accel, CommandLine, Cpu, Device, Global, Kernel, Machine, Memory, NetBackend, Smp,
};
use super::firmware::uefi;
use super::holder::check_unused;
use super::nics::ConnectedNic;
use super::process::{Credentials, Passed, Running, spawn};
use super::scan::qemu_name;
use crate::failpoint::failpoint;
use crate::host::{TB_SIZE, cores, kvm_group};
use crate::model::Accelerator;
use crate::spec::Bytes;
use crate::state::{NodeDir, NodeRecord, private_dir, remove_file, replace, replace_json_unsynced};

/// Of a kernel that is never started, only its header is read (Linux's boot protocols of x86 and
/// arm64), so long as it is not packed as a whole; of its initrd nothing.
const HEAD: u64 = 64 << 10;
/// A NIC of a machine that is to be frozen; nothing is ever sent from it.
pub(crate) fn template_mac(number: usize) -> MacAddr {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    MacAddr([0x52, 0x54, 0, 0, 1, last])
}

/// A generation that never changes, see [`unsafe_no_reseed`].
const TEMPLATE_GUID: &str = "00000000-0000-4000-8000-000000000000";

/// For the tests' negative control alone: woken nodes go on with the random numbers of the machine they
/// woke from, and share them.
pub(crate) fn unsafe_no_reseed() -> bool {
    std::env::var_os("KVMC_UNSAFE_NO_RESEED").is_some_and(|v| v == "1")
}

/// The vcpus a node gets: under emulation never more than the host has cores, where it would crawl.
pub(crate) fn vcpus(asked: u32, accelerator: &Accelerator) -> u32 {
    if accelerator.is_kvm() {
        asked
    } else {
        asked.min(cores())
    }
}

/// Makes the node's disk on `backing` when it has none; true when it was made. With `asleep` the
/// node's first start is to be a waking.
///
/// # Errors
/// A size below the template's, or the system's.
pub(crate) fn clone_disk(
    node: &NodeRecord,
    dir: &NodeDir,
    backing: &Path,
    asleep: bool,
) -> Result<bool> {
    private_dir(dir.path())?;
    let disk = dir.disk();
    if disk.exists() {
        return Ok(false);
    }
    // What wakes has seen a disk of the template's size; it is told of the new one when it runs.
    let size = if asleep {
        qcow2::inspect(backing)?.virtual_size
    } else {
        node.disk.0
    };
    qcow2::create_overlay(&disk, backing, size)
        .with_context(|| format!("failed to make the disk of {}", node.name))?;
    if asleep {
        fs_err::write(dir.asleep(), "")?;
    }
    Ok(true)
}

/// Where a guest's memory comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Zeroed pages: the guest boots.
    Boot,
    /// Pages that others will map: the guest boots, to be frozen.
    Freeze(File),
    /// A frozen guest's pages, mapped privately; its device state is awaited over QMP.
    Wake(File),
}

/// The NICs' other ends.
#[derive(Debug)]
pub(crate) enum Nics {
    Taps(Vec<ConnectedNic>),
    /// As many as this, connected to nothing.
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

/// What a QEMU of ours is made of. The same parts give the same devices at the same places, which is
/// what a frozen state needs to fit.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) uuid: &'a str,
    pub(crate) image: &'a Image,
    pub(crate) accelerator: &'a Accelerator,
    pub(crate) vcpus: u32,
    pub(crate) ram: Bytes,
    pub(crate) source: Source,
    /// The writable one first, then what it lies on.
    pub(crate) disks: Vec<File>,
    pub(crate) nics: Nics,
    /// The disk that tells cloud-init who the node is.
    pub(crate) seed: Option<File>,
    /// UEFI's code and variables, where the image starts by it.
    pub(crate) pflash: Option<[File; 2]>,
    pub(crate) qmp: UnixListener,
    pub(crate) console: UnixListener,
    pub(crate) agent: UnixListener,
}

impl Parts<'_> {
    /// QEMU's arguments, and the descriptors that they speak of.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn assemble(self) -> Result<(Vec<String>, Passed)> {
        let mut passed = Passed::default();
        let mut line = CommandLine::new(self.name, self.uuid);
        let architecture = self.image.architecture;
        let platform = architecture.platform();
        let is_woken = matches!(self.source, Source::Wake(_));
        let memory_backend = match self.source {
            Source::Boot => None,
            Source::Freeze(file) => Some((passed.pass(file), true)),
            Source::Wake(file) => Some((passed.pass(file), false)),
        };
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
            // A kick is a function call there: by an eventfd it would wait for another thread.
            line.add(&Global {
                driver: "virtio-pci",
                property: "ioeventfd",
                value: "off",
            });
        }
        line.add(&Cpu(self.accelerator.cpu(architecture)));
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
        self.nics.add_to(&mut line, &mut passed);
        if let Some(seed) = self.seed {
            line.add_seed(passed.pass(seed));
        }
        line.add_rng();
        line.add_panic_notifier();
        if platform.has_vmgenid {
            // Tells the guest's kernel that it is a copy: it makes new random numbers then.
            let guid = if unsafe_no_reseed() {
                TEMPLATE_GUID
            } else {
                "auto"
            };
            line.add(&Device::new("vmgenid").with("guid", guid));
        }
        if is_woken {
            line.await_state();
        }
        Ok((line.build(), passed))
    }
}

/// All that a node is started from.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) node: &'a NodeRecord,
    pub(crate) dir: &'a NodeDir,
    pub(crate) image: &'a Image,
    /// What the node's disk lies on, the nearest first.
    pub(crate) backing: &'a [PathBuf],
    pub(crate) accelerator: &'a Accelerator,
    pub(crate) nics: Vec<ConnectedNic>,
    /// The memory of the frozen machine to wake from; else the node boots.
    pub(crate) memory: Option<File>,
}

/// Starts the node's QEMU, paused, and writes down which process it is.
///
/// # Errors
/// A file or socket that cannot be had, named, or that QEMU cannot be started.
pub(crate) fn launch(launch: Launch<'_>) -> Result<Running> {
    let Launch {
        cluster,
        node,
        dir,
        image,
        backing,
        accelerator,
        nics,
        memory,
    } = launch;
    let disks = disks(&dir.disk(), backing)?;
    match memory {
        // From here on its disk may change, and the frozen memory would not fit it any more.
        Some(_) => fs_err::rename(dir.asleep(), dir.waking())?,
        None => {
            remove_file(&dir.asleep())?;
            remove_file(&dir.waking())?;
        }
    }
    let parts = Parts {
        name: &qemu_name(cluster, &node.name, &dir.tag()),
        uuid: &node.uuid,
        image,
        accelerator,
        vcpus: vcpus(node.vcpus, accelerator),
        ram: node.ram,
        source: memory.map_or(Source::Boot, Source::Wake),
        disks,
        nics: Nics::Taps(nics),
        seed: node.seeded.then(|| read_only(&dir.seed())).transpose()?,
        pflash: pflash(image, &dir.uefi_variables())?,
        qmp: listen(&dir.qmp_socket())?,
        console: listen(&dir.console_socket())?,
        agent: listen(&dir.agent_socket())?,
    };
    let (args, passed) = parts.assemble()?;
    let log = create_log(&dir.qemu_log())?;
    let who = credentials(node.uid, accelerator);
    let program = image.architecture.platform().qemu.program;
    failpoint!("up.qemu.prepared");
    let mut running = spawn(program, &args, passed, who, log, &node.uuid)?;
    if let Err(e) = write_down(&running, dir) {
        running.kill();
        return Err(e);
    }
    Ok(running)
}

/// UEFI's code and a machine's variables, which are made where they are not there yet.
///
/// # Errors
/// No firmware, or the system's.
pub(crate) fn pflash(image: &Image, variables: &Path) -> Result<Option<[File; 2]>> {
    if image.boot != Boot::Uefi {
        return Ok(None);
    }
    let (code, template) = uefi(image.architecture)?;
    if !variables.exists() {
        replace(variables, &fs_err::read(template)?, 0o600)?;
    }
    Ok(Some([read_only(code)?, read_write(variables)?]))
}

fn write_down(running: &Running, dir: &NodeDir) -> Result<()> {
    failpoint!("up.qemu");
    replace_json_unsynced(&dir.process(), &running.identity, 0o600)?;
    failpoint!("up.qemu.recorded");
    Ok(())
}

/// Who a QEMU runs as.
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

/// A disk and all that it lies on, opened.
///
/// # Errors
/// The one that cannot be opened, or that another QEMU has.
pub(crate) fn disks(disk: &Path, backing: &[PathBuf]) -> Result<Vec<File>> {
    let top = read_write(disk)?;
    check_unused(&top, disk)?;
    let mut disks = vec![top];
    for path in backing {
        disks.push(read_only(path)?);
    }
    Ok(disks)
}

/// An empty log for what QEMU says.
///
/// # Errors
/// The system's, with the path.
pub(crate) fn create_log(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("failed to open {}", path.display()))
}

fn read_write(path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("failed to open {}", path.display()))
}

fn read_only(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("failed to open {}", path.display()))
}

/// The head of a kernel or an initrd: QEMU reads all of what it is given into memory of its own, 12 and 2
/// MB a node.
fn head(path: &Path) -> Result<File> {
    let mut bytes = Vec::new();
    read_only(path)?
        .take(HEAD)
        .read_to_end(&mut bytes)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let fd = memfd_create(c"kvmc-head", MFdFlags::MFD_CLOEXEC).context("failed to make a memfd")?;
    let mut file = File::from(fd);
    file.write_all(&bytes).context("failed to write a memfd")?;
    Ok(file)
}

/// Listens before QEMU is there: nobody can take the path in between, and connecting never fails.
///
/// # Errors
/// The system's, with the path.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    remove_file(path)?;
    UnixListener::bind(path).with_context(|| format!("failed to listen on {}", path.display()))
}

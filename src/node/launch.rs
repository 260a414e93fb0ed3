//! One node from its parts: disks, sockets and a tap in, a running QEMU out.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result};
use kvmc_images::{Architecture, Image, kernel_command_line};

use super::cmdline::{Accel, CommandLine, Cpu, Kernel, Machine, Memory, Smp, program};
use super::process::{Credentials, Passed, Running, spawn};
use crate::host::{Accelerator, cores, kvm_group};
use crate::state::{NodeDir, NodeRecord, private_dir, remove_file, replace_json};

/// MiB of translated code that an emulated node may keep; the default would be up to 1 GB.
pub(crate) const TB_SIZE: u32 = 256;
/// The port that the guest agent answers on.
const AGENT_PORT: &str = "org.kvmc.agent.0";

/// All that a node is started from.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) node: &'a NodeRecord,
    pub(crate) dir: &'a NodeDir,
    pub(crate) image: &'a Image,
    pub(crate) accelerator: &'a Accelerator,
    pub(crate) tap: OwnedFd,
}

/// The vcpus a node gets: under emulation never more than the host has cores, where it would crawl.
pub(crate) fn vcpus(asked: u32, accelerator: &Accelerator) -> u32 {
    if accelerator.is_kvm() {
        asked
    } else {
        asked.min(cores())
    }
}

/// Makes the node's disk when it has none; true when it was made.
///
/// # Errors
/// A size below the template's, or the system's.
pub(crate) fn clone_disk(node: &NodeRecord, dir: &NodeDir, image: &Image) -> Result<bool> {
    private_dir(dir.path())?;
    let disk = dir.disk();
    if disk.exists() {
        return Ok(false);
    }
    kvmc_images::qcow2::create_overlay(&disk, &image.disk, node.disk.0)
        .with_context(|| format!("failed to make the disk of {}", node.name))?;
    Ok(true)
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
        accelerator,
        tap,
    } = launch;
    let mut passed = Passed::default();
    let mut line = CommandLine::new(&format!("kvmc-{cluster}-{}", node.name), &node.uuid);
    add_processor(&mut line, image.recipe.architecture, accelerator, node);
    let kernel = Kernel {
        kernel: passed.pass(read_only(&image.kernel)?),
        initrd: passed.pass(read_only(&image.initrd)?),
        append: kernel_command_line(image.recipe.architecture, !accelerator.is_kvm()),
    };
    for switch in &kernel.switches() {
        line.add(switch);
    }
    line.add_monitor(passed.pass(listen(&dir.qmp_socket())?));
    line.add_console(passed.pass(listen(&dir.console_socket())?));
    line.add_port(AGENT_PORT, passed.pass(listen(&dir.agent_socket())?));
    let disk = File::options()
        .read(true)
        .write(true)
        .open(dir.disk())
        .with_context(|| format!("failed to open {}", dir.disk().display()))?;
    line.add_disk(&[passed.pass(disk), passed.pass(read_only(&image.disk)?)]);
    line.add_nic(passed.pass(tap), node.mac);
    line.add_rng();

    let log = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(dir.qemu_log())
        .with_context(|| format!("failed to open {}", dir.qemu_log().display()))?;
    let gid = if accelerator.is_kvm() {
        kvm_group().unwrap_or(node.uid)
    } else {
        node.uid
    };
    let who = Credentials { uid: node.uid, gid };
    let program = program(image.recipe.architecture);
    let running = spawn(program, &line.build(), passed, who, log, &node.uuid)?;
    replace_json(&dir.process(), &running.identity, 0o600)?;
    Ok(running)
}

fn add_processor(
    line: &mut CommandLine,
    architecture: Architecture,
    accelerator: &Accelerator,
    node: &NodeRecord,
) {
    line.add(&match architecture {
        Architecture::Amd64 => Machine::Q35,
        Architecture::Arm64 => Machine::Virt,
    });
    if accelerator.is_kvm() {
        line.add(&Accel::Kvm);
        line.add(&Cpu("host"));
    } else {
        line.add(&Accel::Tcg { tb_size: TB_SIZE });
        line.add(&Cpu("max"));
    }
    line.add(&Smp {
        cpus: vcpus(node.vcpus, accelerator),
    });
    line.add(&Memory {
        size: node.ram.as_mib(),
    });
}

fn read_only(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("failed to open {}", path.display()))
}

/// Listens before QEMU is there: nobody can take the path in between, and connecting never fails.
fn listen(path: &Path) -> Result<UnixListener> {
    remove_file(path)?;
    UnixListener::bind(path).with_context(|| format!("failed to listen on {}", path.display()))
}

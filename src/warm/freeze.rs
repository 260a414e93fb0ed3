//! Freezes a machine: boots it, waits until it is idle, stops it and saves its state.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kvmc_images::agent::{self, Request, Settle, SettleAnswer};
use kvmc_images::{Image, qcow2};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::ids::Ids;
use super::memory::Memory;
use super::shape::Shape;
use super::store::{Frozen, Store};
use crate::failpoint::failpoint;
use crate::host::qemu_program;
use crate::ids;
use crate::model::Accelerator;
use crate::node::{
    Credentials, MemorySource, NicKind, Nics, Parts, Running, Session, Sockets, Start, close_world,
    create_log, credentials, disks, frozen_extra_disks, hello, identity, listen, pflash, savestate,
    spawn,
};
use crate::spec::{Bytes, approximate};

/// Time from the kernel's start to the agent's greeting, emulated and beside other machines.
const BOOT: Duration = Duration::from_secs(300);
/// Time from the greeting to the end of the boot.
const SETTLE: Duration = Duration::from_secs(300);
/// Time from the agent's answer to the freeze.
const QUIET: Duration = Duration::from_millis(100);
/// Free bytes needed to freeze a machine: the memory of a fresh guest and its disk.
const ROOM: u64 = 1 << 30;

/// A QEMU that ends when its owner does, for whatever reason.
pub(super) struct Machine(pub(super) Running);

impl Machine {
    /// Starts the machine, paused. `dir` belongs to this machine only.
    pub(super) fn start(parts: Parts<'_>, dir: &Path) -> Result<Self> {
        let who = Credentials {
            dies_with_us: true,
            ..credentials(ids::uid(dir, 0), parts.accelerator)
        };
        let program = qemu_program(parts.image.architecture);
        let uuid = parts.uuid;
        let (args, passed) = parts.assemble()?;
        let log = create_log(&dir.join("qemu.log"))?;
        Ok(Self(spawn(Start {
            program: &program,
            args: &args,
            passed,
            who,
            folder: dir,
            log,
            mark: uuid,
        })?))
    }

    /// Opens its connections. From then on it needs no file by its path.
    pub(super) async fn open(&self, dir: &Path) -> Result<Session> {
        let session = Sockets::in_folder(dir).open().await?;
        if let Some(handle) = self.0.identity.open() {
            close_world(&self.0.identity, &handle)?;
        }
        Ok(session)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Boots a machine of `shape` with a disk of `disk_size` and freezes it, unless another process has just done so.
/// Returns its memory too, because nodes wake from it next.
///
/// # Errors
/// Fails if a step fails; nothing of the machine is left then.
pub(crate) async fn freeze(
    store: &Store,
    shape: &Shape,
    disk_size: Bytes,
    image: &Image,
    accelerator: &Accelerator,
) -> Result<(Frozen, Memory)> {
    let draft = store.draft(shape).await?;
    if let Some(frozen) = store.find(shape, disk_size)? {
        let memory = frozen.load()?;
        return Ok((frozen, memory));
    }
    check_room(draft.path())?;
    failpoint!("freeze.folder");
    let memory = Memory::new(shape.ram.0)?;
    let state = draft.path().join("state");
    let uuid = ids::uuid(&ids::random_id());
    let boot_id = {
        let disk = draft.path().join("disk.qcow2");
        qcow2::create_overlay(&disk, &image.disk(), disk_size.0)
            .context("the disk of a machine to freeze cannot be made")?;
        failpoint!("freeze.disk");
        let mut machine = start(draft.path(), &uuid, shape, image, accelerator, &memory)?;
        let settle = Settle {
            one_processor: wakes_on_one(accelerator),
        };
        let driven = drive(
            &machine,
            draft.path(),
            &state,
            disk_size,
            &shape.nics,
            settle,
        );
        let frozen = match driven.await {
            Ok(boot_id) => ended(&mut machine).await.map(|()| boot_id),
            Err(e) => Err(e),
        };
        frozen.map_err(|e| {
            failed(e, &mut machine, draft.path()).context("a machine cannot be frozen")
        })?
    };
    failpoint!("freeze.ended");
    memory.seal()?;
    Ok((
        draft.finish(&memory, disk_size, Ids { uuid, boot_id })?,
        memory,
    ))
}

/// Adds to a machine's error how QEMU ended, and the end of its log and console.
pub(super) fn failed(error: anyhow::Error, machine: &mut Machine, dir: &Path) -> anyhow::Error {
    let end = machine.0.ended().map(|s| format!(" (QEMU ended: {s})"));
    let said = tail(&dir.join("qemu.log"));
    let console = tail(&dir.join("console.log"));
    anyhow::anyhow!("{error:#}{}{said}{console}", end.unwrap_or_default())
}

pub(super) fn check_room(dir: &Path) -> Result<()> {
    let stat = nix::sys::statvfs::statvfs(dir).context("the free space cannot be read")?;
    let free = stat.blocks_available() * stat.fragment_size();
    if free < ROOM {
        bail!(
            "{} free in {}, but a machine's memory and disk need {}",
            approximate(free),
            dir.display(),
            approximate(ROOM)
        );
    }
    Ok(())
}

fn start(
    dir: &Path,
    uuid: &str,
    shape: &Shape,
    image: &Image,
    accelerator: &Accelerator,
    memory: &Memory,
) -> Result<Machine> {
    let disk = dir.join("disk.qcow2");
    let parts = Parts {
        name: "kvmc-freeze",
        uuid,
        image,
        accelerator,
        vcpus: shape.vcpus,
        ram: shape.ram,
        cpu: shape.cpu.clone(),
        source: MemorySource::Freeze(memory.share()?),
        disks: disks(&[disk], &image.layers)?,
        extra: frozen_extra_disks(shape.extra_disks, dir)?,
        nics: Nics::Nowhere(shape.nics.len()),
        seed: None,
        pflash: pflash(image, &dir.join("uefi-vars.fd"))?,
        qmp: listen(&dir.join("qmp.sock"))?,
        console: listen(&dir.join("console.sock"))?,
        agent: listen(&dir.join("agent.sock"))?,
    };
    Machine::start(parts, dir)
}

/// Whether clones wake with one processor and get the others when all nodes are ready. Emulated processors wait for
/// each other in spinlocks while other nodes need the host's cores.
const fn wakes_on_one(accelerator: &Accelerator) -> bool {
    !accelerator.is_kvm()
}

/// Drives a paused QEMU until it has saved its state and ended. Returns the boot id that its agent told.
async fn drive(
    machine: &Machine,
    dir: &Path,
    state: &Path,
    disk_size: Bytes,
    nics: &[NicKind],
    settle: Settle,
) -> Result<Option<String>> {
    failpoint!("freeze.qemu");
    let mut session = machine.open(dir).await?;
    let (qmp, agent) = (&session.qmp, &session.agent);
    let console = tokio::spawn(copy(session.console, dir.join("console.log")));
    // It stays so in the clones until they take their own identity.
    savestate::set_links(qmp, nics.len(), false).await?;
    qmp.execute(qapi_qmp::cont {}).await?;
    tokio::time::timeout(BOOT, hello(&mut session.said))
        .await
        .context("the machine's agent does not greet")??;
    let template = identity::template(disk_size.0, nics)?;
    agent
        .request_secret(agent::Identity::NAME, template.arguments(), SETTLE)
        .await
        .context("the machine's agent does not take an identity")?;
    let settled = agent
        .request(Settle::NAME, settle.arguments(), SETTLE)
        .await
        .context("the machine does not become idle after its boot")?;
    let settled: SettleAnswer = serde_json::from_value(settled).unwrap_or_default();
    // The agent and its kernel may still be busy with the answer.
    tokio::time::sleep(QUIET).await;
    qmp.execute(qapi_qmp::stop {}).await?;
    failpoint!("freeze.state");
    savestate::save(qmp, state).await?;
    qmp.quit().await?;
    console.abort();
    Ok(settled.boot_id)
}

/// Waits for QEMU to end by itself, so that its disk is completely written.
pub(super) async fn ended(machine: &mut Machine) -> Result<()> {
    for _ in 0..1000 {
        if machine.0.ended().is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("QEMU does not end")
}

/// Saves the console's output for errors of the boot.
pub(super) async fn copy(mut stream: UnixStream, to: PathBuf) -> Result<()> {
    const LONGEST: usize = 64 << 10;
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        let n = stream.read(&mut part).await?;
        if n == 0 {
            return Ok(());
        }
        if all.len() < LONGEST {
            all.extend(part.get(..n).unwrap_or_default());
            fs_err::write(&to, &all)?;
        }
    }
}

/// The last lines of a log, as the end of an error.
fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect();
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(4);
    lines
        .get(from..)
        .unwrap_or_default()
        .iter()
        .map(|l| format!("\n  | {l}"))
        .collect()
}

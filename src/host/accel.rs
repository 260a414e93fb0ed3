//! Chooses the accelerator. `/dev/kvm` may open and still run no guest, as on a PVM host. So a guest of 256 bytes is
//! run to find out.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvmc_images::{Architecture, Probe};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::hint::bail_with_hint;
use crate::ids::boot_id;
use crate::model::Accelerator;
use crate::spec::AccelChoice;
use crate::state::{State, private_dir, read_json, replace_json};

/// MiB of translated code that an emulated node may keep. QEMU's default is up to 1 GB.
pub(crate) const TB_SIZE: u32 = 256;

/// Number of host cores that this process might use when it first asked. The answer takes several files of cgroups.
pub(crate) fn cores() -> u32 {
    static CORES: OnceLock<u32> = OnceLock::new();
    *CORES.get_or_init(|| {
        let cores = std::thread::available_parallelism();
        cores.map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
    })
}

/// The group of `/dev/kvm`, unless everybody may open the device. It is the only group of a node's QEMU, because the
/// device can be opened by path only.
pub(crate) fn kvm_group() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata("/dev/kvm").ok()?;
    (device.mode() & 0o006 != 0o006).then(|| device.gid())
}

/// Why a node's QEMU cannot open `/dev/kvm`, which has a user of its own and at most the device's group.
fn is_closed_to_nodes() -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata("/dev/kvm").ok()?.permissions().mode();
    closed(mode)
}

fn closed(mode: u32) -> Option<String> {
    const BOTH: u32 = 0o6;
    let is_open = mode & BOTH == BOTH || (mode >> 3) & BOTH == BOTH;
    (!is_open).then(|| {
        format!(
            "/dev/kvm is for its owner alone (mode {:04o}), and nodes run as users of their own; \
             `chgrp kvm /dev/kvm && chmod 660 /dev/kvm` opens it",
            mode & 0o7777
        )
    })
}

/// The number of the probe's guest. Results of earlier ones do not count.
const PROBE: u32 = 2;

/// QEMU's words for a guest that the kernel would have to interpret and cannot.
const INTERNAL_ERROR: &str = "KVM internal error";

/// A cached result of the probe. It is valid until the host reboots or QEMU is replaced.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Cached {
    boot_id: String,
    qemu: String,
    /// `None` if KVM works.
    why_not: Option<KvmFault>,
}

/// Why KVM is not used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KvmFault {
    why: String,
    said: String,
}

impl From<String> for KvmFault {
    fn from(why: String) -> Self {
        let said = String::new();
        Self { why, said }
    }
}

/// Chooses the requested accelerator, or the one that the probe finds for `auto`.
///
/// # Errors
/// Fails if KVM was requested but does not work.
pub(crate) fn choose(
    state: &State,
    wish: AccelChoice,
    guest: Architecture,
    may_cache: bool,
) -> Result<Accelerator> {
    match wish {
        AccelChoice::Tcg => Ok(Accelerator::Tcg {
            why: "as asked".to_owned(),
            said: String::new(),
        }),
        AccelChoice::Auto => Ok(match kvm_is_unusable(state, guest, may_cache) {
            None => Accelerator::Kvm,
            Some(KvmFault { why, said }) => Accelerator::Tcg { why, said },
        }),
        AccelChoice::Kvm => match kvm_is_unusable(state, guest, may_cache) {
            None => Ok(Accelerator::Kvm),
            Some(KvmFault { why, said }) => {
                let said = said.lines().map(|l| format!("\n  | {l}"));
                bail_with_hint!(
                    "leave out --accel to emulate",
                    "KVM was requested but cannot be used: {why}{}",
                    said.collect::<String>()
                )
            }
        },
    }
}

fn kvm_is_unusable(state: &State, guest: Architecture, may_cache: bool) -> Option<KvmFault> {
    if guest.is_foreign() {
        return Some(format!("{guest} guests on a host of another architecture").into());
    }
    if !Path::new("/dev/kvm").exists() {
        let why = "/dev/kvm is missing; load kvm_intel or kvm_amd, or enable virtualization in the firmware";
        return Some(why.to_owned().into());
    }
    // Not cached, since the cure does not need a reboot.
    if let Some(why) = is_closed_to_nodes() {
        return Some(why.into());
    }
    let key = (boot_id().unwrap_or_default(), qemu_key(guest));
    let path = state.accel_cache();
    if let Ok(Some(cached)) = read_json::<Cached>(&path)
        && (&cached.boot_id, &cached.qemu) == (&key.0, &key.1)
    {
        return cached.why_not;
    }
    let why_not = probe(guest).unwrap_or_else(|e| Some(format!("{e:#}").into()));
    if may_cache && private_dir(state.root()).is_ok() {
        // If the cache cannot be written, the next run probes again.
        let _unwritten = replace_json(
            &path,
            &Cached {
                boot_id: key.0,
                qemu: key.1,
                why_not: why_not.clone(),
            },
            0o644,
        );
    }
    why_not
}

fn qemu_key(guest: Architecture) -> String {
    use std::os::unix::fs::MetadataExt;
    let Some(path) = super::find_qemu_program(guest) else {
        return String::new();
    };
    std::fs::metadata(&path)
        .map(|m| format!("{} {} {} {PROBE}", path.display(), m.len(), m.mtime()))
        .unwrap_or_default()
}

/// Runs firmware of a few instructions under KVM with the nodes' CPU model, and waits until it ends QEMU with the
/// agreed status. Returns why it did not.
///
/// # Errors
/// Fails if QEMU cannot be run.
fn probe(guest: Architecture) -> Result<Option<KvmFault>> {
    const LIMIT: Duration = Duration::from_secs(5);
    let qemu = &guest.platform().qemu;
    let firmware = firmware(&qemu.probe).context("the probe cannot be written")?;
    let log = tempfile::tempfile().context("cannot make a temporary file")?;
    #[expect(clippy::disallowed_methods, reason = "this QEMU is not a node")]
    let mut child = Command::new(super::qemu_program(guest))
        .args([
            "-accel",
            "kvm",
            "-cpu",
            qemu.cpu,
            "-m",
            "16",
            "-nodefaults",
            "-no-user-config",
        ])
        .args(["-display", "none", "-no-reboot", "-bios"])
        .arg(firmware.path())
        .args(qemu.probe.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(
            log.try_clone()
                .context("a temporary file cannot be shared")?,
        )
        .spawn()
        .with_context(|| format!("{} cannot be started", qemu.program))?;
    let until = Instant::now() + LIMIT;
    let (mut status, mut said);
    loop {
        status = child
            .try_wait()
            .context("the state of the probe is unknown")?;
        said = written(&log).context("the probe's output cannot be read")?;
        // A QEMU whose guest met this only stops it.
        let is_stuck = said.contains(INTERNAL_ERROR);
        if status.is_some() || is_stuck || Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if status.is_none() {
        let _ended_already = child.kill();
        child.wait().context("the state of the probe is unknown")?;
    }
    let how = match status {
        Some(status) if status.code() == Some(qemu.probe.agreed) => return Ok(None),
        Some(status) => how_it_ended(status, &said, qemu.program),
        None if said.contains(INTERNAL_ERROR) => {
            "KVM cannot execute its instructions (KVM internal error)".to_owned()
        }
        None => format!("no result within {} s", LIMIT.as_secs()),
    };
    let why = format!("/dev/kvm exists, but a guest does not run: {how}");
    Ok(Some(KvmFault { why, said }))
}

/// What was written to a file, up to 64 KiB. The file's position belongs to the program that writes.
fn written(file: &std::fs::File) -> std::io::Result<String> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; 64 << 10];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A QEMU that refuses gives the reason in its last line. One that crashes only names a line of its source.
fn how_it_ended(status: ExitStatus, said: &str, program: &str) -> String {
    if let Some(signal) = status.signal() {
        let name = Signal::try_from(signal).map_or("a signal", Signal::as_str);
        return format!("QEMU crashed ({name})");
    }
    let last = said
        .lines()
        .map(str::trim)
        .rfind(|l| !l.is_empty())
        .unwrap_or("QEMU wrote no message");
    last.strip_prefix(program)
        .map_or(last, |l| l.trim_start_matches([':', ' ']))
        .to_owned()
}

/// Writes 64 KiB of firmware with the probe's instructions.
fn firmware(probe: &Probe) -> Result<tempfile::NamedTempFile> {
    let mut image = vec![0_u8; 64 << 10];
    if let Some(place) = image.get_mut(probe.offset..probe.offset + probe.code.len()) {
        place.copy_from_slice(probe.code);
    }
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    file.write_all(&image)
        .context("cannot write a temporary file")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_qemu_refused_and_never_a_line_of_its_source() {
        let refused = "qemu: warning: x\nqemu: failed to initialize kvm: Permission denied";
        assert_eq!(
            how_it_ended(ExitStatus::from_raw(1 << 8), refused, "qemu"),
            "failed to initialize kvm: Permission denied"
        );
        let crashed = "qemu: kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == 1' failed.";
        assert_eq!(
            how_it_ended(ExitStatus::from_raw(6), crashed, "qemu"),
            "QEMU crashed (SIGABRT)"
        );
    }

    #[test]
    fn a_device_that_nodes_cannot_open_is_told_with_its_cure() {
        for open in [0o666, 0o660, 0o606, 0o100_660] {
            assert_eq!(closed(open), None, "{open:o}");
        }
        for mode in [0o600, 0o640, 0o604, 0o100_600] {
            let why = closed(mode).unwrap();
            assert!(why.contains("`chgrp kvm /dev/kvm && chmod 660"), "{why}");
        }
        assert!(closed(0o020_600).unwrap().contains("(mode 0600)"));
    }

    #[test]
    fn a_program_that_still_writes_is_read_from_the_start() {
        let mut file = tempfile::tempfile().unwrap();
        let other = file.try_clone().unwrap();
        file.write_all(b"one ").unwrap();
        assert_eq!(written(&other).unwrap(), "one");
        file.write_all(b"two\n").unwrap();
        assert_eq!(written(&other).unwrap(), "one two");
    }

    #[test]
    fn the_probes_firmware_ends_an_emulated_qemu_with_the_agreed_status() {
        for guest in Architecture::ALL {
            let qemu = &guest.platform().qemu;
            if super::super::find_program(qemu.program).is_none() {
                println!("skipped: {} is not installed", qemu.program);
                continue;
            }
            let firmware = firmware(&qemu.probe).unwrap();
            #[expect(clippy::disallowed_methods, reason = "a QEMU that is not a node")]
            let status = Command::new("timeout")
                .args(["20", qemu.program, "-accel", "tcg", "-cpu", "max"])
                .args(["-m", "16", "-nodefaults", "-display", "none", "-no-reboot"])
                .args(qemu.probe.arguments)
                .arg("-bios")
                .arg(firmware.path())
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(qemu.probe.agreed), "{guest}");
        }
    }

    #[test]
    fn a_foreign_guest_is_emulated_and_kvm_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let state = State::locate(|n| (n == "KVMC_STATE_DIR").then(|| path.clone()), true).unwrap();
        let foreign = Architecture::ALL
            .into_iter()
            .find(|a| a.is_foreign())
            .unwrap();
        let Accelerator::Tcg { why, said } =
            choose(&state, AccelChoice::Auto, foreign, true).unwrap()
        else {
            panic!("KVM for another architecture")
        };
        assert_eq!(
            why,
            format!("{foreign} guests on a host of another architecture")
        );
        assert_eq!(said, "");
        let error = choose(&state, AccelChoice::Kvm, foreign, true).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 1);
        // No probe ran, so nothing is cached.
        assert!(!state.accel_cache().exists());
    }

    #[test]
    fn fuzz_accel() {
        kvmc_fuzz::run("accel", crate::fuzz::round_trip::<Cached>);
    }
}

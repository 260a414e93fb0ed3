//! Programs of another architecture, run by QEMU's user-mode emulation: the kernel is told what to run
//! them with by binfmt_misc (Linux's Documentation/admin-guide/binfmt-misc.rst). A template is built so.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use kvmc_images::Architecture;
use nix::mount::{MsFlags, mount};

use super::checks::{Check, Finding, has_program};
use super::find_program;

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// What the program that is tried ends with; no shell gives it for a program that it cannot run.
const AGREED: i32 = 42;

/// What building a template of a foreign architecture needs.
pub(super) fn checks(guest: Architecture) -> Vec<Check> {
    let program = guest.platform().qemu.user_program;
    let finding = match runs(guest) {
        Ok(true) => Finding::Fine(format!("{guest} programs run, in a chroot too")),
        Ok(false) if find_program(program).is_some() => Finding::Missing {
            what: format!("the kernel is not told to run {guest} programs with {program}"),
            cure: "`kvmc doctor --fix` registers it with binfmt_misc".to_owned(),
            package: None,
        },
        Ok(false) => Finding::Missing {
            what: format!("{guest} programs do not run on this host"),
            cure: "`kvmc doctor --fix` installs and registers QEMU's user-mode emulation"
                .to_owned(),
            package: Some("qemu-user-static"),
        },
        Err(e) => Finding::Missing {
            what: format!("whether {guest} programs run cannot be tried: {e:#}"),
            cure: "see that the folder for temporary files can be written to".to_owned(),
            package: None,
        },
    };
    vec![
        Check {
            name: "binfmt",
            finding,
        },
        // mmdebstrap asks it before it begins.
        has_program("arch-test", "arch-test", "arch-test"),
    ]
}

/// Tells the kernel to run `guest`'s programs with QEMU, unless they run already; true when it did
/// something. It lasts until the host reboots; where the distribution's package did not see to the next
/// boot, `doctor --fix` does it again.
///
/// # Errors
/// The step that the system refused.
pub(crate) fn register(guest: Architecture) -> Result<bool> {
    if !guest.is_foreign() || runs(guest)? {
        return Ok(false);
    }
    let platform = guest.platform();
    let interpreter = find_program(platform.qemu.user_program).with_context(|| {
        format!(
            "{} is not installed, which {guest} programs run with",
            platform.qemu.user_program
        )
    })?;
    let door = Path::new(BINFMT).join("register");
    if !door.exists() {
        mount(
            Some("binfmt_misc"),
            BINFMT,
            Some("binfmt_misc"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            None::<&str>,
        )
        .with_context(|| format!("failed to mount binfmt_misc on {BINFMT}"))?;
    }
    // Debian's name for it: the two never stand side by side.
    let name = format!("qemu-{}", platform.machine);
    let entry = Path::new(BINFMT).join(&name);
    if entry.exists() {
        // Switched off, or with an interpreter that a chroot does not have.
        fs_err::write(&entry, "-1")?;
    }
    fs_err::write(
        &door,
        rule(
            &name,
            platform.elf_machine,
            &interpreter.display().to_string(),
        ),
    )?;
    if !runs(guest)? {
        bail!(
            "the kernel was told to run {guest} programs with {} and still does not; see {}",
            interpreter.display(),
            entry.display()
        );
    }
    Ok(true)
}

/// A line for binfmt_misc's `register`. The flag F opens the interpreter now, so that it is there in a
/// chroot as well; P keeps the name that a program was called by.
fn rule(name: &str, elf_machine: u16, interpreter: &str) -> String {
    // An ELF header, elf(5), to its e_machine: any ABI, ET_EXEC or ET_DYN.
    let mut magic = [0; 20];
    let mut mask = [0xff; 20];
    magic[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    magic[16] = 2;
    magic[18..].copy_from_slice(&elf_machine.to_le_bytes());
    mask[7] = 0;
    mask[16] = 0xfe;
    let text = |bytes: [u8; 20]| {
        bytes
            .iter()
            .map(|b| format!("\\x{b:02x}"))
            .collect::<String>()
    };
    format!(
        ":{name}:M:0:{}:{}:{interpreter}:PF",
        text(magic),
        text(mask)
    )
}

/// Runs a program of `guest` that does nothing but end, in an empty chroot when that is allowed.
///
/// # Errors
/// It cannot be written.
fn runs(guest: Architecture) -> Result<bool> {
    let dir = tempfile::tempdir().context("failed to make a temporary folder")?;
    let path = probe(dir.path(), guest)?;
    let is_root = nix::unistd::geteuid().is_root();
    #[expect(clippy::disallowed_methods, reason = "a program of the probe's own")]
    let mut command = if is_root && let Some(chroot) = find_program("chroot") {
        let mut command = Command::new(chroot);
        command.arg(dir.path()).arg("/probe");
        command
    } else {
        Command::new(&path)
    };
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(status.is_ok_and(|s| s.code() == Some(AGREED)))
}

/// Writes a program of `guest` that ends with [`AGREED`].
fn probe(dir: &Path, guest: Architecture) -> Result<PathBuf> {
    let platform = guest.platform();
    let path = dir.join("probe");
    let mut file = fs_err::File::create(&path)?;
    file.write_all(&elf(platform.elf_machine, platform.exit_42))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// The least static program: ELF header, one segment, code; elf(5).
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut add = |part: &[u8]| bytes.extend_from_slice(part);
    // e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags
    add(&2_u16.to_le_bytes());
    add(&machine.to_le_bytes());
    add(&1_u32.to_le_bytes());
    add(&(BASE + HEADERS).to_le_bytes());
    add(&64_u64.to_le_bytes());
    add(&0_u64.to_le_bytes());
    add(&0_u32.to_le_bytes());
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    for half in [64_u16, 56, 1, 64, 0, 0] {
        add(&half.to_le_bytes());
    }
    // p_type PT_LOAD, p_flags R+X, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    add(&1_u32.to_le_bytes());
    add(&5_u32.to_le_bytes());
    for word in [0, BASE, BASE, size, size, 0x1000] {
        add(&word.to_le_bytes());
    }
    add(code);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_that_of_debians_package() {
        assert_eq!(
            rule("qemu-aarch64", 183, "/usr/bin/qemu-aarch64-static"),
            concat!(
                r":qemu-aarch64:M:0:",
                r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:",
                r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:",
                r"/usr/bin/qemu-aarch64-static:PF"
            )
        );
    }

    #[test]
    fn the_hosts_own_program_runs_and_needs_no_rule() {
        let host = Architecture::host().unwrap();
        assert!(runs(host).unwrap());
        assert!(!register(host).unwrap());
    }

    #[test]
    fn a_foreign_program_runs_under_the_user_emulator() {
        for guest in Architecture::ALL.into_iter().filter(|a| a.is_foreign()) {
            let platform = guest.platform();
            let Some(emulator) = find_program(platform.qemu.user_program) else {
                println!("skipped: {} is not installed", platform.qemu.user_program);
                continue;
            };
            let dir = tempfile::tempdir().unwrap();
            let path = probe(dir.path(), guest).unwrap();
            #[expect(clippy::disallowed_methods, reason = "a program of the probe's own")]
            let status = Command::new(emulator).arg(&path).status().unwrap();
            assert_eq!(status.code(), Some(AGREED));
        }
    }
}

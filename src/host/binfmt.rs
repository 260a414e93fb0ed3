//! Programs of another architecture, run by QEMU's user-mode emulation: the kernel is told what to run
//! them with by binfmt_misc (Linux's Documentation/admin-guide/binfmt-misc.rst). A template is built so.

use std::path::Path;

use anyhow::{Context, Result, bail};
use kvmc_images::{Architecture, runs_programs_of};
use nix::mount::{MsFlags, mount};

use super::check::{Check, Finding, has_program};
use super::find_program;
use crate::hint::host_command;

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// What building a template of a foreign architecture needs: that its programs run, or the means to
/// configure its packages in an emulated machine.
pub(super) fn checks(guest: Architecture) -> Vec<Check> {
    let runs = runs_programs_of(guest);
    let mut checks = vec![Check {
        name: "binfmt",
        finding: match &runs {
            Ok(true) => Finding::Fine(format!("{guest} programs run, in a chroot too")),
            Ok(false) => cannot(guest),
            Err(e) => Finding::Missing {
                what: format!("whether {guest} programs run cannot be tried: {e}"),
                cure: "see that the folder for temporary files can be written to".to_owned(),
                package: None,
            },
        },
    }];
    if runs.is_ok_and(|runs| runs) {
        // mmdebstrap asks it before it begins.
        checks.push(has_program("arch-test", "arch-test", "arch-test"));
    }
    checks
}

fn cannot(guest: Architecture) -> Finding {
    let what = format!("{guest} programs do not run on this host");
    let cure = format!(
        "{} sets up QEMU's user-mode emulation",
        host_command("doctor --fix")
    );
    let is_fallen_back_on = ["debootstrap", "dpkg-deb", "depmod"]
        .iter()
        .all(|program| find_program(program).is_some());
    if is_fallen_back_on {
        Finding::Warning {
            what: format!("{what}: templates are built in an emulated machine, slower by far"),
            cure,
        }
    } else {
        Finding::Missing {
            what,
            cure,
            package: None,
        }
    }
}

/// The packages that [`register`] and a build after it need.
pub(crate) fn packages(guest: Architecture) -> Vec<&'static str> {
    if !guest.is_foreign() || runs_programs_of(guest).unwrap_or(true) {
        return Vec::new();
    }
    let wanted = [
        (guest.platform().qemu.user_program, "qemu-user-static"),
        ("arch-test", "arch-test"),
    ];
    let missing = wanted
        .into_iter()
        .filter(|(p, _)| find_program(p).is_none());
    missing.map(|(_, package)| package).collect()
}

/// Tells the kernel to run `guest`'s programs with QEMU, unless they run already; true when it did
/// something. It lasts until the host reboots; where the distribution's package did not see to the next
/// boot, `doctor --fix` does it again.
///
/// # Errors
/// The step that the system refused.
pub(crate) fn register(guest: Architecture) -> Result<bool> {
    if !guest.is_foreign() || runs_programs_of(guest)? {
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
    if !runs_programs_of(guest)? {
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
    fn the_hosts_own_programs_need_no_rule() {
        assert!(!register(Architecture::host().unwrap()).unwrap());
    }
}

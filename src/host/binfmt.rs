//! Runs programs of another architecture, which building a template needs. binfmt_misc tells the kernel to run them
//! with QEMU's user-mode emulation (Linux's Documentation/admin-guide/binfmt-misc.rst).

use std::path::Path;

use anyhow::{Context, Result, bail};
use kvmc_images::{Architecture, runs_programs_of};
use nix::mount::{MsFlags, mount};

use super::check::{Check, Finding, has_program};
use super::find_program;
use crate::hint::host_command;

pub(super) const BINFMT: &str = "/proc/sys/fs/binfmt_misc";

/// Checks what a template of a foreign architecture needs: the host runs its programs, or it can configure the
/// packages in an emulated machine.
pub(super) fn checks(guest: Architecture) -> Vec<Check> {
    let runs = runs_programs_of(guest);
    let mut checks = vec![Check {
        name: "binfmt",
        finding: match &runs {
            Ok(true) => Finding::Fine(format!("{guest} programs run, in a chroot too")),
            Ok(false) => cannot(guest),
            Err(e) => Finding::Missing {
                what: format!("a {guest} program cannot be tried: {e}"),
                cure: "make the folder for temporary files writable".to_owned(),
                package: None,
            },
        },
    }];
    if runs.is_ok_and(|runs| runs) {
        // mmdebstrap runs it first.
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
            what: format!(
                "{what}, so templates are built in an emulated machine, which is much slower"
            ),
            cure,
            package: None,
        }
    } else {
        Finding::Missing {
            what,
            cure,
            package: None,
        }
    }
}

/// The packages for [`register`] and for a build after it.
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

/// Makes the kernel run `guest`'s programs with QEMU, unless it does already. Returns whether something changed. It
/// lasts until the host reboots. If the distribution's package does not restore it then, `doctor --fix` does.
///
/// # Errors
/// Fails at the first step that the system refuses.
pub(crate) fn register(guest: Architecture) -> Result<bool> {
    if !guest.is_foreign() || runs_programs_of(guest)? {
        return Ok(false);
    }
    let platform = guest.platform();
    let interpreter = find_program(platform.qemu.user_program).with_context(|| {
        format!(
            "{} is not installed, but {guest} programs need it",
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
        .with_context(|| format!("cannot mount binfmt_misc on {BINFMT}"))?;
    }
    let name = rule_name(guest);
    let entry = Path::new(BINFMT).join(&name);
    if entry.exists() {
        // The rule is switched off, or its interpreter is missing in a chroot.
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
            "the kernel has a rule to run {guest} programs with {}, but does not run them; see {}",
            interpreter.display(),
            entry.display()
        );
    }
    Ok(true)
}

/// The name of the kernel's rule. It is Debian's, so the two rules never exist side by side.
pub(crate) fn rule_name(guest: Architecture) -> String {
    format!("qemu-{}", guest.platform().machine)
}

/// A line for binfmt_misc's `register`. Flag F opens the interpreter now, so that it works in a chroot too. Flag P
/// keeps the name by which a program was called.
fn rule(name: &str, elf_machine: u16, interpreter: &str) -> String {
    // An ELF header up to e_machine, elf(5), for any ABI and for ET_EXEC or ET_DYN.
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
    fn the_rule_equals_that_of_debians_package() {
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

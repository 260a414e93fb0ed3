//! Tests whether this host runs programs of another architecture, by running one.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;
use crate::error::ImageError;
use crate::exec;

/// The probe's exit status. A shell does not use it for a program that it cannot run.
const AGREED: i32 = 42;

/// Whether a program of `architecture` runs here. As root the test runs it in an empty chroot, as a build runs programs.
/// There the kernel must have the emulator open already (binfmt's flag F).
///
/// # Errors
/// The program cannot be written.
pub fn runs_programs_of(architecture: Architecture) -> Result<bool, ImageError> {
    let dir = tempfile::tempdir().map_err(ImageError::io("make a temporary folder"))?;
    let path = probe(dir.path(), architecture)?;
    let text = |p: &Path| p.display().to_string();
    let status = if nix::unistd::geteuid().is_root() {
        exec::status("chroot", &[text(dir.path()), "/probe".to_owned()])
    } else {
        exec::status(&text(&path), &[])
    };
    Ok(status == Some(AGREED))
}

/// Writes a program of `architecture` that ends with [`AGREED`].
fn probe(dir: &Path, architecture: Architecture) -> Result<PathBuf, ImageError> {
    let platform = architecture.platform();
    let path = dir.join("probe");
    let mut file = fs_err::File::create(&path)?;
    file.write_all(&elf(platform.elf_machine, platform.exit_42))?;
    file.set_permissions(Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A minimal static program: ELF header, one segment, code; elf(5).
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
    fn the_hosts_own_program_runs() {
        assert!(runs_programs_of(Architecture::host().unwrap()).unwrap());
    }

    #[test]
    fn a_foreign_program_runs_under_the_user_emulator() {
        let dir = tempfile::tempdir().unwrap();
        for foreign in Architecture::ALL.into_iter().filter(|a| a.is_foreign()) {
            let emulator = foreign.platform().qemu.user_program;
            let path = probe(dir.path(), foreign).unwrap();
            match exec::status(emulator, &[path.display().to_string()]) {
                None => println!("skipped: {emulator} is not installed"),
                status => assert_eq!(status, Some(AGREED)),
            }
        }
    }
}

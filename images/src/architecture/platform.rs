//! The type of an architecture's table.

/// The differences of an architecture.
#[derive(Debug)]
pub struct Platform {
    /// Debian's name of the architecture.
    pub name: &'static str,
    /// `uname -m`.
    pub machine: &'static str,
    /// ELF's `e_machine`, elf(5).
    pub elf_machine: u16,
    /// The code of a Linux program that exits with status 42.
    pub exit_42: &'static [u8],
    /// Linux's name of QEMU's first serial port.
    pub console: &'static str,
    /// Words of an emulated guest's kernel command line, in addition to those of all architectures.
    pub emulated_words: &'static [&'static str],
    /// Whether QEMU's machine has vmgenid, the ACPI device that tells a guest's kernel that it is a copy.
    pub has_vmgenid: bool,
    /// Its QEMU.
    pub qemu: Qemu,
    /// Its UEFI firmware, for images with a boot loader.
    pub uefi: Uefi,
}

/// QEMU's programs and switches for one architecture.
#[derive(Debug)]
pub struct Qemu {
    /// The system emulator.
    pub program: &'static str,
    /// Debian's package of it.
    pub package: &'static str,
    /// `-machine`
    pub machine: &'static str,
    /// `-cpu` with KVM.
    pub cpu: &'static str,
    /// `-cpu` with TCG, without features that are costly to emulate.
    pub emulated_cpu: &'static str,
    /// The user-mode emulator.
    pub user_program: &'static str,
    /// A guest that shows whether an accelerator works.
    pub probe: Probe,
}

/// A firmware of a few instructions that makes QEMU exit with an agreed status.
#[derive(Debug)]
pub struct Probe {
    /// The instructions.
    pub code: &'static [u8],
    /// Their offset in 64 KiB of firmware.
    pub offset: usize,
    /// QEMU's switches, in addition to those of every probe.
    pub arguments: &'static [&'static str],
    /// QEMU's exit status when the instructions have run.
    pub agreed: i32,
}

/// UEFI firmware, by the paths of several distributions; the first that exists is used.
#[derive(Debug)]
pub struct Uefi {
    /// Debian's package.
    pub package: &'static str,
    /// The read-only code and the template of its variables.
    pub images: &'static [(&'static str, &'static str)],
}

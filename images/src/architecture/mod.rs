//! All that differs between the architectures, as one table each: what a guest's system is called,
//! what QEMU is given, and what the host needs. Nothing else in kvmc asks which architecture it is.

mod amd64;
mod arm64;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// A guest's instruction set, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

/// What an architecture comes with.
#[derive(Debug)]
pub struct Platform {
    /// Debian's name of the architecture.
    pub name: &'static str,
    /// `uname -m`.
    pub machine: &'static str,
    /// ELF's `e_machine`, elf(5).
    pub elf_machine: u16,
    /// Instructions of a Linux program that ends with status 42.
    pub exit_42: &'static [u8],
    /// Linux's name of QEMU's first serial port.
    pub console: &'static str,
    /// Words for the kernel of an emulated guest, beside those for all architectures.
    pub emulated_words: &'static [&'static str],
    /// QEMU can tell the guest's kernel that it is a copy (a device of ACPI's).
    pub has_vmgenid: bool,
    /// What runs a guest.
    pub qemu: Qemu,
    /// UEFI for images that bring a boot loader.
    pub uefi: Uefi,
}

/// QEMU for an architecture.
#[derive(Debug)]
pub struct Qemu {
    /// The system emulator.
    pub program: &'static str,
    /// Debian's package that it is in.
    pub package: &'static str,
    /// `-machine`
    pub machine: &'static str,
    /// `-cpu` with KVM.
    pub cpu: &'static str,
    /// `-cpu` with TCG: what is costly to emulate and protects nothing here is left out.
    pub emulated_cpu: &'static str,
    /// The user-mode emulator, which runs single programs.
    pub user_program: &'static str,
    /// A guest that says that it ran.
    pub probe: Probe,
}

/// A firmware of a few instructions that makes QEMU end with an agreed status.
#[derive(Debug)]
pub struct Probe {
    /// The instructions.
    pub code: &'static [u8],
    /// Where they stand in 64 KiB of firmware.
    pub offset: usize,
    /// QEMU's switches, beside those that every probe gets.
    pub arguments: &'static [&'static str],
    /// QEMU's exit status when the instructions have run.
    pub agreed: i32,
}

/// UEFI firmware, by the paths that distributions have it at, the first that exists being meant.
#[derive(Debug)]
pub struct Uefi {
    /// Debian's package.
    pub package: &'static str,
    /// Read-only code and the variables' template that goes with it.
    pub images: &'static [(&'static str, &'static str)],
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The table.
    #[must_use]
    pub const fn platform(self) -> &'static Platform {
        match self {
            Self::Amd64 => &amd64::PLATFORM,
            Self::Arm64 => &arm64::PLATFORM,
        }
    }

    /// The one that this program was built for.
    #[must_use]
    pub const fn host() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::Amd64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Arm64)
        } else {
            None
        }
    }

    /// The host cannot run its programs by itself.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        Self::host() != Some(self)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.platform().name)
    }
}

impl FromStr for Architecture {
    type Err = ImageError;

    /// Takes `uname -m`'s names, and `adm64` too: the scripts' documentation had it so.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let text = if text == "adm64" { "amd64" } else { text };
        Self::ALL
            .into_iter()
            .find(|a| text == a.platform().name || text == a.platform().machine)
            .ok_or_else(|| ImageError::Recipe {
                what: format!("`{text}` is neither amd64 nor arm64"),
            })
    }
}

/// The kernel's command line for a template.
///
/// An emulated guest is spared what costs boot time and guards against the faults of processors it
/// does not run on.
#[must_use]
pub fn kernel_command_line(architecture: Architecture, emulated: bool) -> String {
    // Debian's modules of security but those that ask at each file and socket and for which nobody has rules: tomoyo, ipe.
    // The last word is for the template's own units.
    const ALL: &str = "mitigations=off hardened_usercopy=off randomize_kstack_offset=off \
        lsm=lockdown,landlock,yama,apparmor,bpf cryptomgr.notests raid=noautodetect rcupdate.rcu_expedited=1 \
        init_on_alloc=0 norandmaps noautogroup nowatchdog kvmc.coldplug=virtio";
    let platform = architecture.platform();
    let mut line = format!(
        "console={} root=/dev/vda rw net.ifnames=0 panic=-1 quiet",
        platform.console
    );
    if emulated {
        for word in [ALL].iter().chain(platform.emulated_words) {
            line.push(' ');
            line.push_str(word);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_known_by_all_their_names() {
        for (name, expected) in [
            ("amd64", Architecture::Amd64),
            ("adm64", Architecture::Amd64),
            ("x86_64", Architecture::Amd64),
            ("arm64", Architecture::Arm64),
            ("aarch64", Architecture::Arm64),
        ] {
            assert_eq!(name.parse::<Architecture>().unwrap(), expected);
        }
        assert!("sparc".parse::<Architecture>().is_err());
        let json = serde_json::to_string(&Architecture::Arm64).unwrap();
        assert_eq!(json, format!("\"{}\"", Architecture::Arm64));
    }

    #[test]
    fn only_an_emulated_guest_is_spared_its_guards() {
        let real = kernel_command_line(Architecture::Arm64, false);
        assert_eq!(
            real,
            "console=ttyAMA0 root=/dev/vda rw net.ifnames=0 panic=-1 quiet"
        );
        let emulated = kernel_command_line(Architecture::Arm64, true);
        assert!(emulated.starts_with(&real) && emulated.contains("mitigations=off"));
        // A word of one architecture alone: arm64 has no TSC.
        assert!(!emulated.contains("tsc="));
        assert!(kernel_command_line(Architecture::Amd64, true).contains(" tsc=reliable"));
    }
}

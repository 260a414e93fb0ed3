//! The architectures that guests can have. One table for each holds its differences. The rest of kvmc reads the
//! tables, and does not compare architectures by name.

mod amd64;
mod arm64;
mod platform;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::platform::{Platform, Probe, Qemu, Uefi};
use crate::error::ImageError;

/// A guest's instruction set, by Debian's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86-64
    Amd64,
    /// AArch64
    Arm64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Its table.
    #[must_use]
    pub const fn platform(self) -> &'static Platform {
        match self {
            Self::Amd64 => &amd64::PLATFORM,
            Self::Arm64 => &arm64::PLATFORM,
        }
    }

    /// The architecture that this program was built for.
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

    /// True where the host's processor cannot run this architecture's programs.
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

    /// Reads Debian's names and `uname -m`'s, and `adm64`, a misspelling in the documentation of the scripts before kvmc.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let text = if text == "adm64" { "amd64" } else { text };
        Self::ALL
            .into_iter()
            .find(|a| text == a.platform().name || text == a.platform().machine)
            .ok_or_else(|| ImageError::Recipe {
                what: format!("unknown architecture `{text}`; expected amd64 or arm64"),
            })
    }
}

/// The kernel's command line for a template.
///
/// An emulated guest boots without mitigations of processor faults: it does not run on those processors, and the
/// mitigations cost boot time.
#[must_use]
pub fn kernel_command_line(architecture: Architecture, emulated: bool) -> String {
    // lsm= is Debian's list without tomoyo and ipe, which check each file and socket although they have no rules.
    // Units of the template read the last word.
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
        // Only amd64 has this word: arm64 has no TSC.
        assert!(!emulated.contains("tsc="));
        assert!(kernel_command_line(Architecture::Amd64, true).contains(" tsc=reliable"));
    }
}

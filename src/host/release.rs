//! The host's distribution, by os-release(5).

/// A family of distributions with common package names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Debian,
    Fedora,
    /// RHEL and its rebuilds.
    Enterprise,
    Suse,
    Arch,
}

impl Family {
    /// The host's; none if it is of no known family.
    pub(super) fn of_this_host() -> Option<Self> {
        let files = ["/etc/os-release", "/usr/lib/os-release"];
        let text = files.iter().find_map(|f| std::fs::read_to_string(f).ok())?;
        Self::read(&text)
    }

    /// Reads the text of os-release: `ID` first, then the words of `ID_LIKE`.
    fn read(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let lines = text
                .lines()
                .find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
            lines.unwrap_or_default().trim_matches(['"', '\''])
        };
        let words = value("ID").split(' ').chain(value("ID_LIKE").split(' '));
        words.into_iter().find_map(|word| match word {
            "debian" | "ubuntu" => Some(Self::Debian),
            "rhel" | "centos" | "rocky" | "almalinux" | "ol" => Some(Self::Enterprise),
            "fedora" => Some(Self::Fedora),
            "suse" | "opensuse" | "sles" => Some(Self::Suse),
            "arch" => Some(Self::Arch),
            _ => None,
        })
    }

    /// Its package manager.
    pub(super) const fn manager(self) -> &'static str {
        match self {
            Self::Debian => "apt-get",
            Self::Fedora | Self::Enterprise => "dnf",
            Self::Suse => "zypper",
            Self::Arch => "pacman",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_told_by_their_ids() {
        for (text, family) in [
            ("ID=debian\n", Family::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Family::Debian),
            ("NAME=x\nID=fedora\n", Family::Fedora),
            ("ID=\"rhel\"\nID_LIKE=\"fedora\"\n", Family::Enterprise),
            (
                "ID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n",
                Family::Enterprise,
            ),
            (
                "ID=\"centos\"\nID_LIKE=\"rhel fedora\"\n",
                Family::Enterprise,
            ),
            (
                "ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\n",
                Family::Suse,
            ),
            ("ID=arch\n", Family::Arch),
            ("ID=manjaro\nID_LIKE=arch\n", Family::Arch),
        ] {
            assert_eq!(Family::read(text), Some(family), "{text}");
        }
        assert_eq!(Family::read("ID=slackware\nVERSION_ID=15\n"), None);
    }
}

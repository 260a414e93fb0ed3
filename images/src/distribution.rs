//! The publishers of packages: one table for each with the differences between Debian and Ubuntu.

use crate::architecture::Architecture;

/// All of Ubuntu's releases, from the package distro-info-data.
const UBUNTU_SERIES: &str = "/usr/share/distro-info/ubuntu.csv";

/// A publisher of packages.
#[derive(Debug)]
pub(crate) struct Distribution {
    /// The first part of a release's name, such as `debian-13`.
    name: &'static str,
    /// Suite and number of the releases that are known without distro-info-data.
    releases: &'static [(&'static str, &'static str)],
    /// Components of its archive that templates use.
    pub(crate) components: &'static str,
    /// The package of the kernel for virtual machines; `{}` is the architecture.
    kernel: &'static str,
    /// The file of its archive's keys, by its path in its packages.
    pub(crate) keyring: &'static str,
    /// Package, suite and components of another publisher's archive that also have the keys.
    pub(crate) elsewhere: (&'static str, &'static str, &'static str),
}

const DEBIAN: Distribution = Distribution {
    name: "debian",
    releases: &[("bookworm", "12"), ("trixie", "13"), ("forky", "14")],
    components: "main",
    kernel: "linux-image-cloud-{}",
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    elsewhere: ("debian-archive-keyring", "noble", "universe"),
};

const UBUNTU: Distribution = Distribution {
    name: "ubuntu",
    releases: &[
        ("jammy", "22.04"),
        ("noble", "24.04"),
        ("questing", "25.10"),
        ("resolute", "26.04"),
    ],
    // qemu-guest-agent and most of what playbooks install are in universe.
    components: "main,universe",
    kernel: "linux-image-virtual",
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    elsewhere: ("ubuntu-keyring", "trixie", "main"),
};

impl Distribution {
    /// The publisher of a suite; Debian for an unknown one, such as `testing`.
    pub(crate) fn of(suite: &str) -> &'static Self {
        let known = |d: &Self| d.releases.iter().any(|(name, _)| *name == suite);
        // Each `up` calls this, so it reads the list only for a suite that is in neither table.
        let is_listed = || {
            let series = std::fs::read_to_string(UBUNTU_SERIES).unwrap_or_default();
            is_listed(&series, suite)
        };
        if !known(&DEBIAN) && (known(&UBUNTU) || is_listed()) {
            &UBUNTU
        } else {
            &DEBIAN
        }
    }

    /// A release's name, such as `debian-13`; the suite's name where it has no number.
    pub(crate) fn release(&self, suite: &str) -> String {
        self.releases
            .iter()
            .find(|(name, _)| *name == suite)
            .map_or_else(
                || suite.to_owned(),
                |(_, number)| format!("{}-{number}", self.name),
            )
    }

    /// The package of its kernel.
    pub(crate) fn kernel_package(&self, architecture: Architecture) -> String {
        self.kernel.replace("{}", architecture.platform().name)
    }
}

/// Whether a list of distro-info-data has a suite: comma-separated, the series third.
fn is_listed(series: &str, suite: &str) -> bool {
    series
        .lines()
        .skip(1)
        .any(|line| line.split(',').nth(2) == Some(suite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_its_publishers() {
        for (suite, release, kernel) in [
            ("trixie", "debian-13", "linux-image-cloud-arm64"),
            ("testing", "testing", "linux-image-cloud-arm64"),
            ("noble", "ubuntu-24.04", "linux-image-virtual"),
        ] {
            let distribution = Distribution::of(suite);
            assert_eq!(distribution.release(suite), release);
            assert_eq!(distribution.kernel_package(Architecture::Arm64), kernel);
        }
    }

    #[test]
    fn a_release_that_came_later_is_found_in_the_list() {
        let list = "version,codename,series,created\n27.04,Zany Zebra,zany,2026-10-20\n";
        assert!(is_listed(list, "zany"));
        for other in ["series", "27.04", "", "trixie"] {
            assert!(!is_listed(list, other), "{other}");
        }
    }
}

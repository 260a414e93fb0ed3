//! Whose packages a template is made of: what differs between Debian and Ubuntu, as one table each.

use std::path::{Path, PathBuf};

use crate::{Architecture, ImageError, mmdebstrap};

/// Series of all of Ubuntu's releases, by the package distro-info-data.
const UBUNTU_SERIES: &str = "/usr/share/distro-info/ubuntu.csv";

/// A publisher of packages.
#[derive(Debug)]
pub(crate) struct Distribution {
    /// As people have it, followed by a release's number.
    name: &'static str,
    /// Releases that are known without distro-info-data: suite and number.
    releases: &'static [(&'static str, &'static str)],
    /// Components of its archive that packages are taken from.
    pub(crate) components: &'static str,
    /// The kernel for machines without hardware of their own; `{}` is the architecture.
    kernel: &'static str,
    /// Where its packages have the keys of its archive.
    keyring: &'static str,
    /// Package, suite and components that have the keys too, signed by a publisher whose keys this host
    /// may have.
    elsewhere: (&'static str, &'static str, &'static str),
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
    // The guest's agent for QEMU, and most of what playbooks install, is in universe.
    components: "main,universe",
    kernel: "linux-image-virtual",
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    elsewhere: ("ubuntu-keyring", "trixie", "main"),
};

impl Distribution {
    /// Whose suite it is; one that nobody knows is Debian's, such as `testing`.
    pub(crate) fn of(suite: &str) -> &'static Self {
        let known = |d: &Self| d.releases.iter().any(|(name, _)| *name == suite);
        // The list is read only for a suite that is in neither table: each `up` asks.
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

    /// The release's name for people, or the suite's where it has no number.
    pub(crate) fn release(&self, suite: &str) -> String {
        self.releases
            .iter()
            .find(|(name, _)| *name == suite)
            .map_or_else(
                || suite.to_owned(),
                |(_, number)| format!("{}-{number}", self.name),
            )
    }

    /// The kernel's package.
    pub(crate) fn kernel_package(&self, architecture: Architecture) -> String {
        self.kernel.replace("{}", architecture.platform().name)
    }

    /// A file with the keys of its archive, when the host does not have it where programs look for it:
    /// Debian's packages hold Ubuntu's keys, and the reverse, so that what this host trusts vouches for them.
    ///
    /// # Errors
    /// mmdebstrap's.
    pub(crate) fn keyring(
        &self,
        dir: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<Option<PathBuf>, ImageError> {
        if Path::new(self.keyring).exists() {
            return Ok(None);
        }
        let (package, suite, components) = self.elsewhere;
        say(&format!("fetching the package {package} of {suite}"));
        let root = dir.join("keyring");
        mmdebstrap::unpack(package, suite, components, &root).map_err(|e| match e {
            ImageError::Program { status, stderr, .. } => ImageError::Keys {
                keyring: self.keyring,
                package,
                suite,
                status,
                stderr,
            },
            e => e,
        })?;
        Ok(Some(root.join(self.keyring.trim_start_matches('/'))))
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

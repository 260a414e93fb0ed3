//! `doctor --fix`: installs missing packages with the host's package manager.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::find_program;
use super::release::Family;

/// The known package managers, with their command that installs without questions.
const MANAGERS: [(&str, &[&str]); 4] = [
    ("apt-get", &["install", "--yes", "--no-install-recommends"]),
    ("dnf", &["install", "--assumeyes"]),
    ("pacman", &["--sync", "--noconfirm", "--needed"]),
    ("zypper", &["--non-interactive", "install"]),
];

/// Names of Debian's packages elsewhere: Fedora's, Enterprise Linux's, openSUSE's and Arch's. A dash is for a package that
/// the distribution does not have, an empty name for Debian's.
const NAMES: [(&str, [&str; 4]); 8] = [
    (
        "qemu-system-x86",
        ["qemu-system-x86-core", "qemu-kvm", "qemu-x86", ""],
    ),
    (
        "qemu-system-arm",
        [
            "qemu-system-aarch64-core",
            "-",
            "qemu-arm",
            "qemu-system-aarch64",
        ],
    ),
    (
        "qemu-utils",
        ["qemu-img", "qemu-img", "qemu-img", "qemu-img"],
    ),
    ("qemu-user-static", ["", "-", "qemu-linux-user", ""]),
    (
        "openssh-client",
        [
            "openssh-clients",
            "openssh-clients",
            "openssh-clients",
            "openssh",
        ],
    ),
    (
        "ovmf",
        ["edk2-ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "edk2-ovmf"],
    ),
    (
        "qemu-efi-aarch64",
        [
            "edk2-aarch64",
            "edk2-aarch64",
            "qemu-uefi-aarch64",
            "edk2-aarch64",
        ],
    ),
    ("arch-test", ["-", "-", "-", "-"]),
];

/// The name of a Debian package in a family of distributions; none if it has no such package.
fn name_in(family: Family, debian: &'static str) -> Option<&'static str> {
    let column = match family {
        Family::Debian => return Some(debian),
        Family::Fedora => 0,
        Family::Enterprise => 1,
        Family::Suse => 2,
        Family::Arch => 3,
    };
    let row = NAMES.iter().find(|(name, _)| *name == debian);
    match row.and_then(|(_, names)| names.get(column)) {
        None | Some(&"") => Some(debian),
        Some(&"-") => None,
        Some(name) => Some(*name),
    }
}

/// The name of a Debian package on this host, for advice.
pub(crate) fn name_here(debian: &'static str) -> &'static str {
    let family = Family::of_this_host();
    family.and_then(|f| name_in(f, debian)).unwrap_or(debian)
}

/// The outcome of [`install`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Packages, by their Debian names, that were not installed, each with the reason.
    pub(crate) failed: Vec<(&'static str, String)>,
}

/// Installs packages by their Debian names. The package manager writes to the terminal. If it refuses all of them together,
/// each is tried alone, so that one unknown name stops no other.
///
/// # Errors
/// Fails if no package manager is known or if it cannot be started.
pub(crate) fn install(packages: &[&'static str]) -> Result<Installed> {
    let family = Family::of_this_host();
    let is_there = |(m, _): &(&str, &[&str])| find_program(m).is_some();
    let own = |(m, _): &(&str, &[&str])| family.is_none_or(|f| f.manager() == *m);
    let all = || MANAGERS.into_iter().filter(is_there);
    // A Debian may have dnf too, and a Fedora apt-get.
    let Some((manager, arguments)) = all().find(own).or_else(|| all().next()) else {
        bail!(
            "no known package manager; expected apt-get, dnf, pacman or zypper; install these packages by hand: {}",
            packages.join(" ")
        );
    };
    if manager == "apt-get" {
        // A new machine has no list of packages yet. An old list is good enough.
        let _as_good_as_it_gets = run(manager, &["update"]);
    }
    install_with(family, packages, |names| {
        let arguments = [arguments, names].concat();
        let done = run(manager, &arguments)?;
        Ok((!done).then(|| format!("`{manager} {}` failed", arguments.join(" "))))
    })
}

/// `try_all` installs packages, and says why it could not.
fn install_with(
    family: Option<Family>,
    packages: &[&'static str],
    mut try_all: impl FnMut(&[&str]) -> Result<Option<String>>,
) -> Result<Installed> {
    let mut installed = Installed::default();
    let mut known = Vec::new();
    for debian in packages {
        match family.map_or(Some(*debian), |f| name_in(f, debian)) {
            Some(name) => known.push((*debian, name)),
            None => {
                let why = "this distribution has no package of it".to_owned();
                installed.failed.push((debian, why));
            }
        }
    }
    let names: Vec<_> = known.iter().map(|(_, name)| *name).collect();
    if names.is_empty() || try_all(&names)?.is_none() {
        return Ok(installed);
    }
    for (debian, name) in known {
        if let Some(why) = try_all(&[name])? {
            installed.failed.push((debian, why));
        }
    }
    Ok(installed)
}

/// Whether the program ended well.
fn run(program: &str, arguments: &[&str]) -> Result<bool> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the user sees the output of the package manager"
    )]
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // stdout is for what `doctor` finds.
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("{program} cannot be started"))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_have_the_names_of_the_distribution() {
        let names = |family| {
            [
                "qemu-system-x86",
                "qemu-utils",
                "openssh-client",
                "nftables",
                "ovmf",
            ]
            .map(|debian| name_in(family, debian).unwrap_or("none"))
        };
        for (family, expected) in [
            (
                Family::Debian,
                [
                    "qemu-system-x86",
                    "qemu-utils",
                    "openssh-client",
                    "nftables",
                    "ovmf",
                ],
            ),
            (
                Family::Fedora,
                [
                    "qemu-system-x86-core",
                    "qemu-img",
                    "openssh-clients",
                    "nftables",
                    "edk2-ovmf",
                ],
            ),
            (
                Family::Enterprise,
                [
                    "qemu-kvm",
                    "qemu-img",
                    "openssh-clients",
                    "nftables",
                    "edk2-ovmf",
                ],
            ),
            (
                Family::Suse,
                [
                    "qemu-x86",
                    "qemu-img",
                    "openssh-clients",
                    "nftables",
                    "qemu-ovmf-x86_64",
                ],
            ),
            (
                Family::Arch,
                [
                    "qemu-system-x86",
                    "qemu-img",
                    "openssh",
                    "nftables",
                    "edk2-ovmf",
                ],
            ),
        ] {
            assert_eq!(names(family), expected, "{family:?}");
        }
        assert_eq!(name_in(Family::Enterprise, "qemu-system-arm"), None);
    }

    #[test]
    fn a_package_that_is_not_to_be_had_stops_no_other_and_is_named() {
        let mut asked = Vec::new();
        let packages = ["nftables", "qemu-system-arm", "mmdebstrap", "qemu-utils"];
        let installed = install_with(Some(Family::Enterprise), &packages, |names| {
            asked.push(names.join(" "));
            Ok(names.contains(&"mmdebstrap").then(|| "no match".to_owned()))
        });
        assert_eq!(
            asked,
            [
                "nftables mmdebstrap qemu-img",
                "nftables",
                "mmdebstrap",
                "qemu-img"
            ]
        );
        assert_eq!(
            installed.unwrap().failed,
            [
                (
                    "qemu-system-arm",
                    "this distribution has no package of it".to_owned()
                ),
                ("mmdebstrap", "no match".to_owned()),
            ]
        );
    }
}

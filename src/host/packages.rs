//! `doctor --fix`: installs missing packages with the host's package manager.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::find_program;

/// The known package managers, with their command that installs without questions.
const MANAGERS: [(&str, &[&str]); 4] = [
    ("apt-get", &["install", "--yes", "--no-install-recommends"]),
    ("dnf", &["install", "--assumeyes"]),
    ("pacman", &["--sync", "--noconfirm", "--needed"]),
    ("zypper", &["--non-interactive", "install"]),
];

/// The name of a Debian package in another distribution.
fn name_for(manager: &str, debian: &str) -> String {
    let other = match (manager, debian) {
        ("dnf", "qemu-system-x86") => "qemu-system-x86-core",
        ("dnf", "qemu-system-arm") => "qemu-system-aarch64-core",
        ("dnf", "qemu-utils") => "qemu-img",
        ("dnf", "openssh-client") => "openssh-clients",
        ("zypper", "qemu-system-arm") => "qemu-arm",
        ("zypper", "qemu-user-static") => "qemu-linux-user",
        ("pacman", "qemu-system-x86") => "qemu-system-x86",
        ("pacman", "qemu-system-arm") => "qemu-system-aarch64",
        ("pacman", "qemu-utils") => "qemu-img",
        ("pacman" | "zypper", "openssh-client") => "openssh",
        ("zypper", "qemu-utils") => "qemu-img",
        _ => debian,
    };
    other.to_owned()
}

/// Installs packages by their Debian names. The package manager writes to the terminal.
///
/// # Errors
/// Fails if no package manager is known, or if it fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let Some((manager, arguments)) = MANAGERS
        .into_iter()
        .find(|(m, _)| find_program(m).is_some())
    else {
        bail!(
            "no known package manager; expected apt-get, dnf, pacman or zypper; install these packages by hand: {}",
            packages.join(" ")
        );
    };
    if manager == "apt-get" {
        // A new machine has no list of packages yet. An old list is good enough.
        let _as_good_as_it_gets = run(manager, &["update".to_owned()]);
    }
    let mut all: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    all.extend(packages.iter().map(|p| name_for(manager, p)));
    run(manager, &all)
}

fn run(program: &str, arguments: &[String]) -> Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the user sees the output of the package manager"
    )]
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .with_context(|| format!("{program} cannot be started"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

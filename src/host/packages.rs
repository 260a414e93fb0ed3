//! `doctor --fix`: installs what is missing with the host's package manager.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::find_program;

/// The package managers known, with the command that installs without asking.
const MANAGERS: [(&str, &[&str]); 4] = [
    ("apt-get", &["install", "--yes", "--no-install-recommends"]),
    ("dnf", &["install", "--assumeyes"]),
    ("pacman", &["--sync", "--noconfirm", "--needed"]),
    ("zypper", &["--non-interactive", "install"]),
];

/// What other distributions call Debian's packages.
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

/// Installs packages, named as Debian names them; what the manager prints goes to the terminal.
///
/// # Errors
/// No package manager that is known, or its failure.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let Some((manager, arguments)) = MANAGERS
        .into_iter()
        .find(|(m, _)| find_program(m).is_some())
    else {
        bail!(
            "no package manager that is known (apt-get, dnf, pacman, zypper); install by hand: {}",
            packages.join(" ")
        );
    };
    if manager == "apt-get" {
        // A machine that is new has no list of packages yet; a list that is old serves as well.
        let _as_good_as_it_gets = run(manager, &["update".to_owned()]);
    }
    let mut all: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    all.extend(packages.iter().map(|p| name_for(manager, p)));
    run(manager, &all)
}

fn run(program: &str, arguments: &[String]) -> Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the host's package manager, on its terminal"
    )]
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .with_context(|| format!("failed to start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

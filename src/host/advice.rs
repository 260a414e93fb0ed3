//! Checks that only `doctor` makes: what `up` can do without, and what it takes care of itself.

use std::path::Path;

use kvmc_images::Architecture;

use super::check::{Check, Finding};
use super::checks::free_disk;
use super::version::{is_before, version};
use super::{cpu, find_program, find_qemu_program, load};
use crate::spec::approximate;

/// The oldest QEMU that kvmc is tested with.
const OLDEST_QEMU: &str = "7.2";

/// Programs that kvmc runs, each with the option by which it tells its version, and the names of their checks.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("nft", "nft", "--version"),
    ("ssh", "ssh", "-V"),
    ("mmdebstrap", "mmdebstrap", "--version"),
    ("mke2fs", "mke2fs", "-V"),
    ("qemu-img", "qemu-img", "--version"),
    ("sshpass", "sshpass", "-V"),
];

/// Adds versions to the programs that checks have found.
pub(crate) fn add_versions(checks: &mut [Check], architecture: Architecture) {
    for check in checks {
        let Finding::Fine(what) = &check.finding else {
            continue;
        };
        if check.name == "QEMU" {
            check.finding = qemu(architecture);
            continue;
        }
        let program = PROGRAMS.iter().find(|(name, ..)| *name == check.name);
        let found =
            program.and_then(|(_, program, option)| version(&find_program(program)?, option));
        if let Some(version) = found {
            check.finding = Finding::Fine(format!("{version}, {what}"));
        }
    }
}

fn qemu(architecture: Architecture) -> Finding {
    let Some(path) = find_qemu_program(architecture) else {
        return Finding::Fine("not found".to_owned());
    };
    let shown = path.display();
    match version(&path, "--version") {
        Some(version) if is_before(&version, OLDEST_QEMU) => Finding::Warning {
            what: format!("{shown} has version {version}"),
            cure: format!("kvmc is tested with {OLDEST_QEMU} and later; install a newer QEMU"),
            package: None,
        },
        Some(version) => Finding::Fine(format!("{version}, {shown}")),
        None => Finding::Warning {
            what: format!("{shown} does not tell its version"),
            cure: "reinstall QEMU if nodes do not start".to_owned(),
            package: None,
        },
    }
}

/// The version of the QEMU that runs nodes of an architecture, and its path; none if there is none.
pub(crate) fn qemu_version(architecture: Architecture) -> Option<(String, std::path::PathBuf)> {
    let path = find_qemu_program(architecture)?;
    Some((version(&path, "--version")?, path))
}

/// The kernel and the distribution of this host, a line each.
pub(crate) fn host_version() -> String {
    let kernel = nix::sys::utsname::uname().map_or_else(
        |e| format!("unknown: {e}"),
        |u| format!("{} {}", u.release().display(), u.machine().display()),
    );
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    let name = name.map_or("unknown", |n| n.trim_matches('"'));
    format!("kernel {kernel}\nhost {name}\n")
}

/// What the host offers beyond what nodes need.
pub(crate) fn advice(state_root: &Path) -> Vec<Check> {
    let fine = |name, what: String| Check {
        name,
        finding: Finding::Fine(what),
    };
    let vhost = match Path::new("/dev/vhost-net").exists() {
        true => "there; QEMU itself moves the packets of nodes",
        false => "not there; QEMU itself moves the packets of nodes, so none needs it",
    };
    let nested = match cpu::no_nested() {
        None => "nodes can run KVM guests".to_owned(),
        Some((why, cure)) => format!("nodes cannot run KVM guests: {why}; {cure}"),
    };
    let host = load::host_load();
    let known =
        |bytes: Option<u64>| bytes.map_or_else(|| "an unknown part".to_owned(), approximate);
    let memory = format!("{} of {} free", known(host.available), known(host.memory));
    let disk = format!(
        "{} free at {}",
        known(free_disk(state_root)),
        state_root.display()
    );
    vec![
        fine("vhost-net", vhost.to_owned()),
        fine("nested", nested),
        fine("memory", memory),
        fine("disk", disk),
    ]
}

/// Whether a link leads into a VPN, by its kind.
pub(crate) fn is_vpn(kind: &str) -> bool {
    matches!(
        kind,
        "wireguard" | "tun" | "ppp" | "vti" | "xfrm" | "ipip" | "gre"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advice_says_what_was_seen() {
        let checks = advice(Path::new("/"));
        let names: Vec<_> = checks.iter().map(|c| c.name).collect();
        assert_eq!(names, ["vhost-net", "nested", "memory", "disk"]);
        assert!(
            checks
                .iter()
                .all(|c| matches!(&c.finding, Finding::Fine(what) if !what.is_empty()))
        );
    }

    #[test]
    fn versions_are_added_to_programs_that_were_found_only() {
        let missing = Finding::Missing {
            what: "x".to_owned(),
            cure: "y".to_owned(),
            package: None,
        };
        let mut checks = [
            Check {
                name: "ssh",
                finding: missing.clone(),
            },
            Check {
                name: "other",
                finding: Finding::Fine("z".to_owned()),
            },
        ];
        add_versions(&mut checks, Architecture::host().unwrap());
        assert_eq!(checks[0].finding, missing);
        assert_eq!(checks[1].finding, Finding::Fine("z".to_owned()));
        assert!(is_vpn("wireguard") && !is_vpn("bridge"));
    }
}

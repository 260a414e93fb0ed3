//! Which layers of a QEMU's confinement this host has: QEMU is run with them.

use std::path::Path;

use anyhow::{Result, bail};

use crate::host::{missing_controllers, runs_systemd};
use crate::ids::UIDS;
use crate::model::{Finding, Verdict};
use crate::node::{Credentials, Layers, Passed, Start, create_log, spawn};

/// The check's name.
const NAME: &str = "confinement";

/// Runs QEMU once as nodes' QEMUs are run, and tells what they lack. None for a user who may not run nodes.
pub(super) fn confinement(program: &Path) -> Option<Finding> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let warning = |what: String, cure: &str| Finding {
        cure: Some(cure.to_owned()),
        ..Finding::of(NAME, Verdict::Warning, what)
    };
    Some(match run(program) {
        Ok(layers) => match layers.lacking().as_slice() {
            [] => {
                let what = "QEMU runs in namespaces and an empty root of its own, under Landlock";
                Finding::of(NAME, Verdict::Ok, what.to_owned())
            }
            lacking => warning(
                format!("QEMU runs without {}", lacking.join(", ")),
                "a newer kernel, or a container with CAP_SYS_ADMIN, has them; docs/SECURITY.md says what each is for",
            ),
        },
        Err(e) => {
            let why = format!("{e:#}");
            let cure = cure(&why);
            warning(format!("QEMU does not run in its confinement: {why}"), cure)
        }
    })
}

/// What helps, by the words of ld.so(8) or of the kernel.
fn cure(why: &str) -> &'static str {
    match why.contains("shared librar") {
        true => "install QEMU with its libraries in folders that /etc/ld.so.conf names",
        false => "docs/SECURITY.md says what the confinement needs of a host",
    }
}

/// Whether each node has limits of its own on memory, processors, disks and tasks.
pub(super) fn limits() -> Finding {
    let check = "limits";
    let warning = |what: String, cure: &str| Finding {
        cure: Some(cure.to_owned()),
        ..Finding::of(check, Verdict::Warning, what)
    };
    if !runs_systemd() {
        return warning(
            "nodes have no limits of their own: systemd does not run here".to_owned(),
            "start kvmc in a cgroup with limits, which then bind the whole cluster",
        );
    }
    match missing_controllers().as_slice() {
        [] => Finding::of(
            check,
            Verdict::Ok,
            "systemd limits each node's memory and tasks, and weighs processors and disks"
                .to_owned(),
        ),
        missing => warning(
            format!("nodes have no limits on {}", missing.join(", ")),
            "boot with cgroup v2 alone: systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
        ),
    }
}

fn run(program: &Path) -> Result<Layers> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let uid = *UIDS.start();
    let mut running = spawn(Start {
        program,
        args: &["--version".to_owned()],
        passed: Passed::default(),
        who: Credentials {
            uid,
            gid: uid,
            dies_with_us: true,
        },
        folder: folder.path(),
        log: create_log(&log)?,
        mark: "--version",
    })?;
    let status = running.wait()?;
    if !status.success() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("{status}: {}", said.lines().last().unwrap_or_default());
    }
    Ok(running.layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_cure_only_where_they_lack() {
        let lacks =
            "exit status: 127: qemu: error while loading shared libraries: libpixman-1.so.0";
        assert!(cure(lacks).contains("/etc/ld.so.conf"));
        for other in ["Operation not permitted (os error 1)", "exit status: 1: "] {
            assert!(!cure(other).contains("ld.so"), "{other}");
        }
    }
}

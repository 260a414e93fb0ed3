//! The result of a check.

use std::path::PathBuf;

use kvmc_images::Architecture;

use super::{find_program, find_qemu_program};
use crate::hint::host_command;

/// The finding of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing is wrong; says what was seen.
    Fine(String),
    /// A fault that does not stop the verb.
    Warning {
        what: String,
        cure: String,
        package: Option<&'static str>,
    },
    /// A fault that stops the verb.
    Missing {
        what: String,
        cure: String,
        package: Option<&'static str>,
    },
}

/// A named check with its finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) finding: Finding,
}

pub(super) fn has_program(name: &'static str, program: &str, package: &'static str) -> Check {
    found(name, find_program(program), program, package)
}

/// Checks for the system emulator of an architecture.
pub(super) fn has_qemu(architecture: Architecture) -> Check {
    let qemu = &architecture.platform().qemu;
    let path = find_qemu_program(architecture);
    found("QEMU", path, qemu.program, qemu.package)
}

fn found(name: &'static str, path: Option<PathBuf>, program: &str, package: &'static str) -> Check {
    let finding = match path {
        Some(path) => Finding::Fine(path.display().to_string()),
        None => Finding::Missing {
            what: format!("the program `{program}` is not installed"),
            cure: format!("{} installs it", host_command("doctor --fix")),
            package: Some(package),
        },
    };
    Check { name, finding }
}

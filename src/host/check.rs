//! What a check of preflight says.

use super::find_program;
use crate::hint::host_command;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// In order; what was seen.
    Fine(String),
    /// Not as it should be, but nothing that stops.
    Warning { what: String, cure: String },
    /// In the way.
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
    let finding = match find_program(program) {
        Some(path) => Finding::Fine(path.display().to_string()),
        None => Finding::Missing {
            what: format!("the program `{program}` is not installed"),
            cure: format!("{} installs it", host_command("doctor --fix")),
            package: Some(package),
        },
    };
    Check { name, finding }
}

//! The one place that runs programs.

use std::process::{Command, Stdio};

use crate::ImageError;

/// Lines of a program's talk that an error shows.
const SHOWN: usize = 6;

/// Runs a program to its end.
///
/// # Errors
/// Its command line, status and the end of its standard error.
pub(crate) fn run(program: &str, arguments: &[String]) -> Result<(), ImageError> {
    let shown = || format!("{program} {}", arguments.join(" "));
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that runs programs"
    )]
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("SOURCE_DATE_EPOCH", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(ImageError::io(format!("start {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let tail = lines
        .get(lines.len().saturating_sub(SHOWN)..)
        .unwrap_or_default();
    Err(ImageError::Program {
        command: shown(),
        status: output.status.to_string(),
        stderr: tail.join("; "),
    })
}

/// Runs a program whose status alone is of interest; none when it cannot be started, or a signal ended it.
pub(crate) fn status(program: &str, arguments: &[String]) -> Option<i32> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that runs programs"
    )]
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.ok()?.code()
}

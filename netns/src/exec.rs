//! Runs programs, for all of this crate.

use std::os::unix::process::CommandExt as _;
use std::{
    env, fmt, io,
    io::Write as _,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

/// A program could not be run, or failed. The message has its command, its status and its stderr.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` {failure}")]
pub struct ExecError {
    /// The program and its arguments.
    pub command: String,
    failure: Failure,
    #[source]
    source: Option<io::Error>,
}

#[derive(Debug)]
enum Failure {
    Start,
    Exit(ExitStatus, String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Start => f.write_str("could not be run"),
            Failure::Exit(status, stderr) => write!(f, "failed ({status}): {stderr}"),
        }
    }
}

impl ExecError {
    /// Whether there is no such program.
    pub(crate) fn is_missing(&self) -> bool {
        let kind = self.source.as_ref().map(io::Error::kind);
        matches!(self.failure, Failure::Start) && kind == Some(io::ErrorKind::NotFound)
    }

    /// The program's exit status; none when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        match &self.failure {
            Failure::Exit(status, _) => status.code(),
            Failure::Start => None,
        }
    }
}

/// The first executable file of this name in the folders of `path`, as execvp(3) looks for it.
fn find(program: &str, path: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
}

/// Runs `program` with `input` on its stdin and returns its stdout; waits for its end.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, ExecError> {
    let error = |failure, source| ExecError {
        command: [&[program], arguments].concat().join(" "),
        failure,
        source,
    };
    // The PATH of ordinary users often lacks the folders of network programs.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    // With a path and not a name, the standard library starts it by posix_spawn(3), which copies no page tables.
    let found =
        find(program, &path).ok_or_else(|| error(Failure::Start, Some(Errno::ENOENT.into())))?;
    #[allow(clippy::disallowed_methods, reason = "this is the place")]
    let mut child = Command::new(found)
        .arg0(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        // Ctrl-C at the terminal must not interrupt the program.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| error(Failure::Start, Some(source)))?;
    // A program that fails early closes its stdin. Its stderr says more than the broken pipe.
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|source| error(Failure::Start, Some(source)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(error(Failure::Exit(output.status, stderr), None));
    }
    written.map_err(|source| error(Failure::Start, Some(source)))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

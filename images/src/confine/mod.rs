//! Runs the programs that read images from outside or disks of guests, so that a program which such bytes take over gets
//! nowhere, and one that they keep busy ends.
//!
//! Each has limits of memory, CPU time, time on the clock, sizes of files and output ([`table`]), no capability but to read
//! files of other users, Landlock's rules for its own files ([`rules`]), and a filter of system calls ([`filter`]). A layer
//! that the host does not give is left out.

mod filter;
mod limits;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use self::limits::Confinement;
pub(crate) use self::table::Task;
use self::table::{Limits, Row};
use crate::error::ImageError;
use crate::exec::{self, Bounds, End, Ended};
use crate::size::approximate;

/// Words by which programs say that they got no memory.
const NO_MEMORY: [&str; 5] = [
    "Cannot allocate memory",
    "emory allocation failed",
    "failed to allocate",
    "emory exhausted",
    "ut of memory",
];

/// A run of a program.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) task: Task,
    pub(crate) arguments: Vec<String>,
    /// The files that it reads, and folders with all in them.
    pub(crate) reads: Vec<&'a Path>,
    /// The files that it writes. A missing one is made.
    pub(crate) writes: Vec<&'a Path>,
    /// The image that it works on, for errors.
    pub(crate) about: &'a Path,
    /// Size of the disk as a guest sees it, in bytes.
    pub(crate) disk: u64,
}

impl Job<'_> {
    /// Runs the program to its end.
    ///
    /// # Errors
    /// [`ImageError::TooMuch`] if it reaches a limit or crashes; otherwise as [`exec::run`].
    pub(crate) fn run(&self) -> Result<(), ImageError> {
        self.output().map(drop)
    }

    /// As [`Self::run`]; returns the program's standard output.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn output(&self) -> Result<String, ImageError> {
        let row = Row::of(self.task).ok_or_else(|| ImageError::Recipe {
            what: format!("{:?} has no limits", self.task),
        })?;
        self.run_as(row, row.limits(self.disk, self.held()))
    }

    fn run_as(&self, row: &Row, limits: Limits) -> Result<String, ImageError> {
        for path in self.writes.iter().filter(|path| !path.exists()) {
            let new = std::fs::File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path);
            new.map_err(ImageError::io(format!("create {}", path.display())))?;
        }
        let confinement = Confinement::prepare(row.program, limits, &self.reads, &self.writes);
        let mut command = exec::command(row.program, &self.arguments);
        command.stdout(std::process::Stdio::piped());
        confinement.put_on(&mut command);
        let bounds = Bounds {
            time: Some(Duration::from_secs(limits.clock)),
            printed: usize::try_from(limits.printed).unwrap_or(usize::MAX),
        };
        let ended = exec::to_end(exec::is_told_to_stop, command, row.program, bounds)?;
        match passed(&ended, limits) {
            Some(passed) => Err(ImageError::TooMuch {
                file: self.about.display().to_string(),
                program: row.program,
                passed,
            }),
            None => ended.judged(row.program, &self.arguments, exec::last_lines),
        }
    }

    /// Bytes that its files take on the host's disk.
    fn held(&self) -> u64 {
        let held = |path: &&Path| match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => crate::store::allocated(path),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        };
        self.reads.iter().chain(&self.writes).map(held).sum()
    }
}

/// What a program did that no image may make it do; `None` if it ended by itself.
fn passed(ended: &Ended, limits: Limits) -> Option<String> {
    let status = match &ended.end {
        End::TooLong => return Some(format!("takes longer than {} s", limits.clock)),
        End::TooMuch => return Some(format!("prints more than {}", approximate(limits.printed))),
        End::Status(status) if status.success() => return None,
        End::Status(status) => status,
    };
    let signal = std::os::unix::process::ExitStatusExt::signal(status);
    let signal = signal.and_then(|number| Signal::try_from(number).ok());
    match signal {
        // The kernel sends the second a second after the first.
        Some(Signal::SIGXCPU | Signal::SIGKILL) => {
            Some(format!("takes more than {} s of CPU time", limits.seconds))
        }
        Some(Signal::SIGXFSZ) => Some(match limits.written {
            0 => "writes a file, which it must not".to_owned(),
            most => format!("writes a file of more than {}", approximate(most)),
        }),
        _ if NO_MEMORY.iter().any(|words| ended.said.contains(words)) => Some(format!(
            "needs more than {} of memory",
            approximate(limits.memory)
        )),
        Some(signal) => Some(format!("crashes ({signal})")),
        None => None,
    }
}

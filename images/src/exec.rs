//! Runs programs, for all of this crate.

#![allow(
    unsafe_code,
    reason = "pre_exec: one async-signal-safe system call between fork and exec"
)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::error::ImageError;

/// Lines of a program's output that an error shows.
const SHOWN: usize = 6;
/// Bytes of a program's standard error that are kept.
const KEPT: u64 = 1 << 20;
/// The time between two checks whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);
/// The time that a program has to clean up after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Sets the process's stop flag. Once `stop` is true, every wait of this crate ends with [`ImageError::Interrupted`].
/// Ignores a second flag.
pub fn heed(stop: Arc<AtomicBool>) {
    let _one_is_enough = STOP.set(stop);
}

/// Whether the flag of [`heed`] is true.
pub(crate) fn is_told_to_stop() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Fails when the user has interrupted. Called between two steps.
///
/// # Errors
/// [`ImageError::Interrupted`].
pub(crate) fn stop_if_told() -> Result<(), ImageError> {
    if is_told_to_stop() {
        return Err(ImageError::Interrupted);
    }
    Ok(())
}

/// Runs a program to its end. On an interruption it gets SIGTERM, and SIGKILL 10 s later.
///
/// The program has its own process group, so a terminal's Ctrl-C reaches only kvmc. It gets SIGTERM when kvmc is killed.
///
/// # Errors
/// [`ImageError::Program`] with the end of its standard error, or [`ImageError::Interrupted`].
pub(crate) fn run(program: &str, arguments: &[String]) -> Result<(), ImageError> {
    run_and_say(program, arguments, last_lines)
}

/// As [`run`], but `words` turns the program's standard error into the error's text.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_and_say(
    program: &str,
    arguments: &[String],
    words: fn(&str) -> String,
) -> Result<(), ImageError> {
    run_unless(is_told_to_stop, program, arguments, words)
}

fn run_unless(
    stop: impl Fn() -> bool,
    program: &str,
    arguments: &[String],
    words: fn(&str) -> String,
) -> Result<(), ImageError> {
    let ended = to_end(stop, command(program, arguments), program, Bounds::NONE)?;
    ended.judged(program, arguments, words).map(drop)
}

/// A program to be started, in a process group of its own.
pub(crate) fn command(program: &str, arguments: &[String]) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that runs programs"
    )]
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("SOURCE_DATE_EPOCH", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    // SAFETY: prctl(2) with integers only.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from)
        });
    }
    command
}

/// What a program may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// On the clock.
    pub(crate) time: Option<Duration>,
    /// Bytes on its standard output.
    pub(crate) printed: usize,
}

impl Bounds {
    const NONE: Self = Self {
        time: None,
        printed: usize::MAX,
    };
}

/// How a program ended.
#[derive(Debug)]
pub(crate) enum End {
    Status(ExitStatus),
    /// kvmc ended it at a bound.
    TooLong,
    TooMuch,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    printed: String,
    /// The end of its standard error.
    pub(crate) said: String,
}

impl Ended {
    /// Its standard output if it succeeded.
    ///
    /// # Errors
    /// [`ImageError::Program`] with the end of its standard error.
    pub(crate) fn judged(
        self,
        program: &str,
        arguments: &[String],
        words: fn(&str) -> String,
    ) -> Result<String, ImageError> {
        let status = match self.end {
            End::Status(status) if status.success() => return Ok(self.printed),
            End::Status(status) => status.to_string(),
            End::TooLong | End::TooMuch => "ended by kvmc".to_owned(),
        };
        Err(ImageError::Program {
            command: format!("{program} {}", arguments.join(" ")),
            status,
            stderr: words(&self.said),
        })
    }
}

/// Runs a command to its end or to a bound.
///
/// # Errors
/// It cannot be started, or [`ImageError::Interrupted`].
pub(crate) fn to_end(
    stop: impl Fn() -> bool,
    mut command: Command,
    program: &str,
    bounds: Bounds,
) -> Result<Ended, ImageError> {
    let mut child = command
        .spawn()
        .map_err(ImageError::io(format!("start {program}")))?;
    let said = collect(child.stderr.take(), keep_end);
    let most = bounds.printed;
    let printed = collect(child.stdout.take(), move |from| keep_start(from, most));
    let until = bounds.time.map(|time| Instant::now() + time);
    let is_late = || until.is_some_and(|until| Instant::now() >= until);
    let status = until_end(&mut child, || stop() || is_late());
    let status = status.map_err(ImageError::io(format!("run {program}")))?;
    if status.is_none() && stop() {
        return Err(ImageError::Interrupted);
    }
    let printed = printed.join().unwrap_or_default();
    // A program that succeeds may leave others behind that hold the pipe.
    let said = match status.is_some_and(|status| status.success()) {
        true => Vec::new(),
        false => said.join().unwrap_or_default(),
    };
    Ok(Ended {
        end: match status {
            None => End::TooLong,
            Some(_) if printed.len() > most => End::TooMuch,
            Some(status) => End::Status(status),
        },
        printed: String::from_utf8_lossy(&printed).into_owned(),
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// The last lines of a program's output, joined into one line.
pub(crate) fn last_lines(said: &str) -> String {
    let lines: Vec<_> = said
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let tail = lines.get(lines.len().saturating_sub(SHOWN)..);
    tail.unwrap_or_default().join("; ")
}

/// Reads a pipe on another thread.
fn collect<P: Read + Send + 'static>(
    from: Option<P>,
    keep: impl FnOnce(&mut dyn Read) -> Vec<u8> + Send + 'static,
) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || from.map(|mut from| keep(&mut from)).unwrap_or_default())
}

/// The first `most` bytes, and one more if there are more. Then nobody reads the pipe, which ends the program.
fn keep_start(from: &mut dyn Read, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let _cut_off = from.take(most.saturating_add(1)).read_to_end(&mut bytes);
    bytes
}

/// The last [`KEPT`] bytes or more.
fn keep_end(from: &mut dyn Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(1..) = (&mut *from).take(KEPT).read_to_end(&mut bytes) {
        let most = usize::try_from(KEPT).unwrap_or(usize::MAX);
        bytes.drain(..bytes.len().saturating_sub(most));
    }
    bytes
}

/// Runs a program for its exit status; `None` where it cannot be started or a signal ended it.
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

/// Waits for a program's end; `None` after an interruption, when its whole process group has ended.
fn until_end(child: &mut Child, stop: impl Fn() -> bool) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if stop() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let _gone_already = killpg(group, Signal::SIGTERM);
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if child.try_wait()?.is_some() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let _gone_already = killpg(group, Signal::SIGKILL);
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_when_it_is_told_to_stop() {
        let began = Instant::now();
        let minute = ["60".to_owned()];
        let ended = run_unless(|| true, "sleep", &minute, last_lines);
        assert!(matches!(ended, Err(ImageError::Interrupted)), "{ended:?}");
        assert!(began.elapsed() < GRACE);
        run("true", &[]).unwrap();
        let failed = run("false", &[]).unwrap_err().to_string();
        assert!(failed.contains("exit status: 1"), "{failed}");
    }
}

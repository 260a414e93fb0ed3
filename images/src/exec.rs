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
    run_unless(is_told_to_stop, program, arguments, Stdio::null(), words).map(drop)
}

/// As [`run`]; returns the program's standard output.
///
/// # Errors
/// As [`run`].
pub(crate) fn output(program: &str, arguments: &[String]) -> Result<String, ImageError> {
    let printed = Stdio::piped();
    run_unless(is_told_to_stop, program, arguments, printed, last_lines)
}

fn run_unless(
    stop: impl Fn() -> bool,
    program: &str,
    arguments: &[String],
    stdout: Stdio,
    words: fn(&str) -> String,
) -> Result<String, ImageError> {
    let shown = || format!("{program} {}", arguments.join(" "));
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
        .stdout(stdout)
        .stderr(Stdio::piped())
        .process_group(0);
    // SAFETY: prctl(2) with integers only.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from)
        });
    }
    let mut child = command
        .spawn()
        .map_err(ImageError::io(format!("start {program}")))?;
    let said = collect(child.stderr.take());
    let printed = collect(child.stdout.take());
    let status = until_end(&mut child, stop).map_err(ImageError::io(format!("run {program}")))?;
    let Some(status) = status else {
        return Err(ImageError::Interrupted);
    };
    if status.success() {
        return Ok(printed.join().unwrap_or_default());
    }
    let said = said.join().unwrap_or_default();
    Err(ImageError::Program {
        command: shown(),
        status: status.to_string(),
        stderr: words(&said),
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

/// Reads a pipe to its end on another thread.
fn collect(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _cut_off = from.map(|mut s| s.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    })
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
        let ended = run_unless(|| true, "sleep", &minute, Stdio::null(), last_lines);
        assert!(matches!(ended, Err(ImageError::Interrupted)), "{ended:?}");
        assert!(began.elapsed() < GRACE);
        run("true", &[]).unwrap();
        assert_eq!(output("echo", &["x".to_owned()]).unwrap(), "x\n");
        let failed = run("false", &[]).unwrap_err().to_string();
        assert!(failed.contains("exit status: 1"), "{failed}");
    }
}

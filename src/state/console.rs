//! Reads the logs of consoles, which the keeper writes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of the log that a new viewer sees first.
const HISTORY: u64 = 64 << 10;

/// A line with the time at which it came, in seconds since 1970, as far as that is known.
pub(crate) type TimedLine = (Option<f64>, Vec<u8>);

/// The log before a log.
pub(crate) fn console_before(log: &Path) -> PathBuf {
    log.with_extension("log.old")
}

/// The times of a log: lines of an offset in the log and seconds since 1970.
pub(crate) fn console_times(log: &Path) -> PathBuf {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    log.with_file_name(name.replace(".log", ".times"))
}

/// The last bytes of a log.
pub(crate) fn console_tail(log: &Path) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(HISTORY)))?;
        let mut bytes = Vec::new();
        file.take(HISTORY).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// The lines of a log with the text of its times, and the beginning of a line that has not ended yet.
pub(crate) fn console_lines(log: &[u8], times: &str) -> (Vec<TimedLine>, TimedLine) {
    let mut times = times.lines().filter_map(mark).peekable();
    let mut time = None;
    let mut lines = Vec::new();
    let mut offset = 0;
    for line in log.split_inclusive(|b| *b == b'\n') {
        while let Some((_, noted)) = times.next_if(|(from, _)| *from <= offset) {
            time = Some(noted);
        }
        offset += line.len() as u64;
        match line.strip_suffix(b"\n") {
            Some(whole) => lines.push((time, whole.to_vec())),
            None => return (lines, (time, line.to_vec())),
        }
    }
    (lines, (time, Vec::new()))
}

fn mark(line: &str) -> Option<(u64, f64)> {
    let (offset, time) = line.split_once(' ')?;
    Some((offset.parse().ok()?, time.parse().ok()?))
}

//! The log of a node's console: of bounded size, with the times of its lines in a file beside it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::ids::now;
use crate::state::{console_before, console_times};

/// Bytes of one log. The log before it is kept, so this is half of what is kept.
const LONGEST: u64 = 1 << 20;
/// Bytes of the times of one log.
const LONGEST_TIMES: u64 = 1 << 18;
/// Shortest time between two noted times, in seconds.
const PAUSE: f64 = 0.1;

pub(super) struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    times: File,
    times_length: u64,
    /// When a time was last noted, in seconds since 1970.
    noted: f64,
}

impl Log {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let open = |path: &Path| -> std::io::Result<(File, u64)> {
            let file = File::options()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open(path)?;
        let (times, times_length) = open(&console_times(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            times,
            times_length,
            noted: 0.0,
        })
    }

    /// If the disk is full, the log loses output but the console does not.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.length > LONGEST || self.times_length > LONGEST_TIMES {
            let before = console_before(&self.path);
            let _kept = std::fs::rename(console_times(&self.path), console_times(&before));
            let _kept = std::fs::rename(&self.path, before);
            if let Ok(fresh) = Self::open(&self.path) {
                *self = fresh;
            }
        }
        self.note(now());
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
        }
    }

    /// Notes that what follows in the log comes at `time`. A clock that was set back is noted too.
    fn note(&mut self, time: f64) {
        if (0.0..PAUSE).contains(&(time - self.noted)) {
            return;
        }
        let line = format!("{} {time:.3}\n", self.length);
        if self.times.write_all(line.as_bytes()).is_ok() {
            self.times_length += line.len() as u64;
            self.noted = time;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::console_lines;

    #[test]
    fn the_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = Log::open(&path).unwrap();
        for _ in 0..5 * (LONGEST >> 16) {
            log.write(&[b'x'; 1 << 16]);
        }
        for second in 0..1 << 15 {
            log.note(f64::from(second));
            log.write(b"x");
        }
        let total: u64 = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(
            total <= 2 * (LONGEST + LONGEST_TIMES) + (1 << 18),
            "{total}"
        );
    }

    #[test]
    fn each_line_has_the_time_at_which_it_came() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(&path, "untimed\n").unwrap();
        let mut log = Log::open(&path).unwrap();
        for (time, text) in [(100.0, "a\nb"), (100.05, "c\n"), (200.5, "d\ne")] {
            log.note(time);
            // The log's own clock must not note a time here.
            log.noted = now();
            log.write(text.as_bytes());
            log.noted = time;
        }
        let times = std::fs::read_to_string(console_times(&path)).unwrap();
        let (lines, rest) = console_lines(&std::fs::read(&path).unwrap(), &times);
        let seen: Vec<_> = lines
            .iter()
            .map(|(time, text)| (*time, std::str::from_utf8(text).unwrap()))
            .collect();
        let expected = [
            (None, "untimed"),
            (Some(100.0), "a"),
            (Some(100.0), "bc"),
            (Some(200.5), "d"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(rest, (Some(200.5), b"e".to_vec()));
    }
}

//! Follows a log file while it grows, is renamed, begins again or is removed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest beginning of a line that is held until its end comes, in bytes.
const LONGEST: usize = 64 << 10;
/// A beginning that has waited this long counts as a line, such as a prompt.
const PATIENCE: Duration = Duration::from_secs(1);

/// A log file that is followed.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// The number of bytes that were read.
    offset: u64,
    /// The beginning of a line, and when it came.
    rest: Vec<u8>,
    since: Instant,
}

impl Tail {
    /// Opens a file, which may be missing, and returns what is in it.
    pub(super) fn open(path: &Path) -> (Self, Vec<u8>) {
        let mut tail = Self {
            path: path.to_owned(),
            file: File::open(path).ok(),
            offset: 0,
            rest: Vec::new(),
            since: Instant::now(),
        };
        let bytes = tail.read();
        let rest = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
        tail.rest = bytes.get(rest..).unwrap_or_default().to_vec();
        (tail, bytes)
    }

    /// The beginning of a line that has come.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// The lines that have come since the last call.
    pub(super) fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let bytes = self.read();
        self.split(&bytes, &mut lines);
        if self.is_replaced() {
            self.end_line(&mut lines);
            self.file = File::open(&self.path).ok();
            self.offset = 0;
            let bytes = self.read();
            self.split(&bytes, &mut lines);
        }
        if self.rest.len() > LONGEST || self.since.elapsed() > PATIENCE {
            self.end_line(&mut lines);
        }
        lines
    }

    /// What has come. A file that became shorter was begun again.
    fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(file) = &mut self.file else {
            return bytes;
        };
        if file.metadata().is_ok_and(|meta| meta.len() < self.offset) {
            self.offset = 0;
        }
        let read = file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut bytes));
        if read.is_ok() {
            self.offset += bytes.len() as u64;
        }
        bytes
    }

    fn is_replaced(&self) -> bool {
        let Ok(now) = std::fs::metadata(&self.path) else {
            return false;
        };
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        open.is_none_or(|open| (open.dev(), open.ino()) != (now.dev(), now.ino()))
    }

    fn split(&mut self, bytes: &[u8], lines: &mut Vec<Vec<u8>>) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.since = Instant::now();
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    let mut line = std::mem::take(&mut self.rest);
                    line.extend_from_slice(end);
                    lines.push(line);
                }
                None => self.rest.extend_from_slice(piece),
            }
        }
    }

    fn end_line(&mut self, lines: &mut Vec<Vec<u8>>) {
        if !self.rest.is_empty() {
            lines.push(std::mem::take(&mut self.rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn text(tail: &mut Tail) -> Vec<String> {
        let lines = tail.lines().into_iter();
        lines.map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn a_log_is_followed_through_everything_that_happens_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let (mut tail, before) = Tail::open(&path);
        assert!(before.is_empty() && text(&mut tail).is_empty());
        std::fs::write(&path, "first\nhalf").unwrap();
        assert_eq!(text(&mut tail), ["first"]);
        assert_eq!(tail.rest(), b"half");
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b" and half\n").unwrap();
        assert_eq!(text(&mut tail), ["half and half"]);
        // A rotation keeps what was written right before it.
        file.write_all(b"last\nopen").unwrap();
        std::fs::rename(&path, dir.path().join("a.log.old")).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(text(&mut tail), ["last", "open", "new"]);
        std::fs::write(&path, "x\n").unwrap();
        assert_eq!(text(&mut tail), ["x"], "the file was begun again");
        std::fs::remove_file(&path).unwrap();
        assert!(text(&mut tail).is_empty());
        std::fs::write(&path, "prompt: ").unwrap();
        assert!(text(&mut tail).is_empty());
        tail.since = Instant::now().checked_sub(2 * PATIENCE).unwrap();
        assert_eq!(text(&mut tail), ["prompt: "]);
    }

    #[test]
    fn what_is_there_comes_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "a\nb").unwrap();
        let (mut tail, before) = Tail::open(&path);
        assert_eq!(before, b"a\nb");
        std::fs::write(&path, "a\nbc\n").unwrap();
        assert_eq!(text(&mut tail), ["bc"]);
    }
}

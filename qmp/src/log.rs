//! A bounded log of a connection's exchanges.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes kept of one line.
const LONGEST_LINE: usize = 2048;

/// A log that renames its file to `<path>.old` and starts a new one once it exceeds its bound.
#[derive(Debug)]
pub struct ExchangeLog {
    path: PathBuf,
    file: File,
    length: u64,
    max_bytes: u64,
}

impl ExchangeLog {
    /// Opens `path` for appending, mode 0600; `max_bytes` bounds it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            max_bytes,
        })
    }

    /// Appends a line. Ignores a failed write, for instance on a full disk, so that the connection continues.
    pub(crate) fn write(&mut self, direction: &str, text: &str) {
        if self.length > self.max_bytes {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            let _kept = std::fs::rename(&self.path, old);
            if let Ok(fresh) = Self::open(&self.path, self.max_bytes) {
                *self = fresh;
            }
        }
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |d| d.as_secs_f64());
        let end = text.floor_char_boundary(LONGEST_LINE);
        let line = format!(
            "{time:.3} {direction} {}\n",
            text.get(..end).unwrap_or_default()
        );
        if self.file.write_all(line.as_bytes()).is_ok() {
            self.length += line.len() as u64;
        }
    }
}

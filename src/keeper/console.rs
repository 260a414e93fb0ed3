//! A node's serial console, into a log that is bounded whatever the guest writes.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::status::Status;
use crate::model::Stage;

/// Bytes of one log; with the one before it, twice that is kept.
const LONGEST: u64 = 1 << 20;

/// Copies the console to its log until QEMU ends.
pub(super) async fn copy(socket: PathBuf, log: PathBuf, node: String, status: Status) {
    let Ok(mut stream) = UnixStream::connect(&socket).await else {
        return;
    };
    let Ok(mut log) = Log::open(&log) else { return };
    let mut buffer = vec![0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                status.reach(&node, Stage::Kernel, "");
                log.write(buffer.get(..n).unwrap_or_default());
            }
        }
    }
}

struct Log {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Log {
    fn open(path: &Path) -> std::io::Result<Self> {
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
        })
    }

    /// A disk that is full costs the log, never the console.
    fn write(&mut self, bytes: &[u8]) {
        if self.length > LONGEST {
            let _kept = std::fs::rename(&self.path, self.path.with_extension("log.old"));
            if let Ok(fresh) = Self::open(&self.path) {
                *self = fresh;
            }
        }
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        let mut log = Log::open(&path).unwrap();
        for _ in 0..5 * (LONGEST >> 16) {
            log.write(&[b'x'; 1 << 16]);
        }
        let total: u64 = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(total <= 2 * LONGEST + 2 * (1 << 16), "{total}");
    }
}

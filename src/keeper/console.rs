//! A node's serial console: it goes to a log of bounded size and to all viewers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc};

use super::status::Status;
use crate::model::Stage;

/// Bytes of one log. The log before it is kept, so this is half of what is kept.
const LONGEST: u64 = 1 << 20;
/// Bytes of the log that a new viewer sees first.
const HISTORY: u64 = 64 << 10;
/// Reads of the console that a viewer may be behind. A slower viewer misses some.
const BEHIND: usize = 256;

/// A console that can be viewed and typed into. All clones share one console.
#[derive(Debug, Clone)]
pub(super) struct Console {
    log: PathBuf,
    output: broadcast::Sender<Vec<u8>>,
    input: mpsc::Sender<Vec<u8>>,
}

/// The end of a console that QEMU writes to.
#[derive(Debug)]
pub(super) struct Guest {
    console: Console,
    typed: mpsc::Receiver<Vec<u8>>,
}

impl Console {
    pub(super) fn new(log: PathBuf) -> (Self, Guest) {
        let (output, _) = broadcast::channel(BEHIND);
        let (input, typed) = mpsc::channel(16);
        let console = Self { log, output, input };
        let guest = Guest {
            console: console.clone(),
            typed,
        };
        (console, guest)
    }

    /// Shows a viewer the end of the log and then the console, and types the viewer's input, until either side ends.
    pub(super) async fn show(
        &self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) {
        let mut output = self.output.subscribe();
        if writer.write_all(&tail(&self.log)).await.is_err() {
            return;
        }
        let mut buffer = vec![0; 4096];
        loop {
            tokio::select! {
                written = output.recv() => match written {
                    Ok(bytes) if writer.write_all(&bytes).await.is_ok() => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    _ => return,
                },
                typed = reader.read(&mut buffer) => match typed {
                    Ok(n @ 1..) => {
                        let bytes = buffer.get(..n).unwrap_or_default().to_vec();
                        if self.input.send(bytes).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                },
            }
        }
    }
}

impl Guest {
    /// Copies the guest's output to the log and to all viewers, and types their input, until QEMU ends.
    pub(super) async fn serve(mut self, stream: UnixStream, node: String, status: Status) {
        let (mut reader, mut writer) = stream.into_split();
        let Ok(mut log) = Log::open(&self.console.log) else {
            return;
        };
        let mut buffer = vec![0; 4096];
        loop {
            tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(n @ 1..) => {
                        let bytes = buffer.get(..n).unwrap_or_default();
                        status.reach(&node, Stage::Kernel, "");
                        log.write(bytes);
                        let _nobody_looks_on = self.console.output.send(bytes.to_vec());
                    }
                    _ => return,
                },
                Some(bytes) = self.typed.recv() => {
                    if writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The last bytes of a log.
fn tail(path: &Path) -> Vec<u8> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(HISTORY)))?;
        let mut bytes = Vec::new();
        file.take(HISTORY).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
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

    /// If the disk is full, the log loses output but the console does not.
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

    #[tokio::test]
    async fn a_viewer_sees_past_and_new_output_and_can_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(&path, "before\n").unwrap();
        let (console, guest) = Console::new(path.clone());
        let (mut qemu, ours) = UnixStream::pair().unwrap();
        let status = Status::new(dir.path().join("events.jsonl"));
        tokio::spawn(guest.serve(ours, "a".to_owned(), status));
        let (mut user, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = theirs.into_split();
        tokio::spawn(async move { console.show(reader, writer).await });
        let mut seen = vec![0; 7];
        user.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, b"before\n");
        qemu.write_all(b"after\n").await.unwrap();
        user.read_exact(&mut seen[..6]).await.unwrap();
        assert_eq!(&seen[..6], b"after\n");
        user.write_all(b"typed").await.unwrap();
        qemu.read_exact(&mut seen[..5]).await.unwrap();
        assert_eq!(&seen[..5], b"typed");
        assert_eq!(std::fs::read(&path).unwrap(), b"before\nafter\n");
    }
}

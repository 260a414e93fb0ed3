//! A node's serial console: it goes to a log of bounded size and to all viewers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, broadcast, mpsc, watch};

use super::console_log::Log;
use super::status::Status;
use crate::model::Stage;
use crate::state::console_tail;

/// How long typed input waits for a QEMU that reads it. A node that restarts reads none.
const TYPED: Duration = Duration::from_secs(1);
/// Reads of the console that a viewer may be behind. A slower viewer misses some.
const BEHIND: usize = 256;

/// A console that can be viewed and typed into. It lasts from one QEMU of its node to the next. All clones share one
/// console.
#[derive(Debug, Clone)]
pub(super) struct Console {
    log: PathBuf,
    output: broadcast::Sender<Vec<u8>>,
    input: mpsc::Sender<Vec<u8>>,
    /// The other end of `input`, for the QEMU that runs.
    typed: Arc<Mutex<mpsc::Receiver<Vec<u8>>>>,
    /// Whether typed input is kept back.
    held: watch::Sender<bool>,
}

/// Keeps typed input back until it is dropped.
#[derive(Debug)]
pub(super) struct HeldConsole(watch::Sender<bool>);

impl Drop for HeldConsole {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Console {
    pub(super) fn new(log: PathBuf) -> Self {
        let (output, _) = broadcast::channel(BEHIND);
        let (input, typed) = mpsc::channel(16);
        Self {
            log,
            output,
            input,
            typed: Arc::new(Mutex::new(typed)),
            held: watch::Sender::new(false),
        }
    }

    /// Types nothing into QEMU until the returned value is dropped. What viewers type meanwhile waits.
    pub(super) fn hold(&self) -> HeldConsole {
        self.held.send_replace(true);
        HeldConsole(self.held.clone())
    }

    /// Shows a viewer the console, with `history` first the end of its log, and types the viewer's input, until the
    /// viewer ends.
    pub(super) async fn show(
        &self,
        history: bool,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
    ) {
        let mut output = self.output.subscribe();
        if history && writer.write_all(&console_tail(&self.log)).await.is_err() {
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
                        let _not_read = self.input.send_timeout(bytes, TYPED).await;
                    }
                    _ => return,
                },
            }
        }
    }

    /// Copies the guest's output to the log and to all viewers, and types their input, until QEMU ends.
    pub(super) async fn serve(self, stream: UnixStream, node: String, status: Status) {
        let (mut reader, mut writer) = stream.into_split();
        let Ok(mut log) = Log::open(&self.log) else {
            return;
        };
        let mut typed = self.typed.lock().await;
        // That was typed for the QEMU before.
        while typed.try_recv().is_ok() {}
        let mut buffer = vec![0; 4096];
        let mut held = self.held.subscribe();
        loop {
            let is_held = *held.borrow_and_update();
            tokio::select! {
                _ = held.changed() => {}
                read = reader.read(&mut buffer) => match read {
                    Ok(n @ 1..) => {
                        let bytes = buffer.get(..n).unwrap_or_default();
                        status.reach(&node, Stage::Kernel, "");
                        log.write(bytes);
                        let _nobody_looks_on = self.output.send(bytes.to_vec());
                    }
                    _ => return,
                },
                Some(bytes) = typed.recv(), if !is_held => {
                    if writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(user: &mut UnixStream, length: usize) -> Vec<u8> {
        let mut seen = vec![0; length];
        user.read_exact(&mut seen).await.unwrap();
        seen
    }

    fn view(console: &Console, history: bool) -> UnixStream {
        let (user, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = theirs.into_split();
        let console = console.clone();
        tokio::spawn(async move { console.show(history, reader, writer).await });
        user
    }

    #[tokio::test]
    async fn a_viewer_sees_past_and_new_output_and_can_type_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        std::fs::write(&path, "before\n").unwrap();
        let console = Console::new(path.clone());
        let status = Status::new(dir.path().join("events.jsonl"));
        let start = || {
            let (qemu, ours) = UnixStream::pair().unwrap();
            let serving = console.clone().serve(ours, "a".to_owned(), status.clone());
            (qemu, tokio::spawn(serving))
        };
        let (mut qemu, served) = start();
        let mut user = view(&console, true);
        assert_eq!(read(&mut user, 7).await, b"before\n");
        let mut late = view(&console, false);
        tokio::task::yield_now().await;
        qemu.write_all(b"after\n").await.unwrap();
        assert_eq!(read(&mut user, 6).await, b"after\n");
        assert_eq!(read(&mut late, 6).await, b"after\n");
        user.write_all(b"typed").await.unwrap();
        assert_eq!(read(&mut qemu, 5).await, b"typed");
        drop(qemu);
        served.await.unwrap();
        let (mut qemu, _served) = start();
        qemu.write_all(b"again\n").await.unwrap();
        assert_eq!(read(&mut user, 6).await, b"again\n");
        user.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut qemu, 4).await, b"more");
        assert_eq!(std::fs::read(&path).unwrap(), b"before\nafter\nagain\n");
    }
}

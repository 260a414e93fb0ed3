//! The input of `exec --stdin`. Each node reads it at its own pace, so one that hangs delays no other. What does not come
//! from a file is kept in one without a name, so memory does not grow with it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::watch;

use crate::state::ClusterDir;

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// How much of the input is there.
#[derive(Debug, Clone, Default)]
struct Extent {
    bytes: u64,
    is_whole: bool,
    /// Why no more can be kept.
    failed: Option<String>,
}

/// The input of several nodes.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// This process's input is a file, which each ssh opens for itself.
    File,
    Kept(Kept),
}

/// An input that is kept while it comes.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    file: Arc<File>,
    extent: watch::Receiver<Extent>,
}

impl Input {
    /// Begins to read this process's input.
    ///
    /// # Errors
    /// Fails if there is no place to keep it.
    pub(super) fn open(dir: &ClusterDir) -> Result<Self> {
        if std::fs::metadata("/proc/self/fd/0").is_ok_and(|meta| meta.is_file()) {
            return Ok(Self::File);
        }
        let file = tempfile::tempfile_in(dir.path()).context("the input cannot be kept")?;
        Ok(Self::Kept(keep(std::io::stdin(), file)))
    }

    /// What ssh gets as its input.
    ///
    /// # Errors
    /// Fails if the file cannot be opened again.
    pub(super) fn stdio(&self) -> Result<Stdio> {
        match self {
            Self::Kept(_) => Ok(Stdio::piped()),
            Self::File => {
                let context = "the input cannot be read";
                let at = nix::unistd::lseek(std::io::stdin(), 0, nix::unistd::Whence::SeekCur);
                let at = u64::try_from(at.context(context)?).context(context)?;
                let mut file = File::open("/proc/self/fd/0").context(context)?;
                file.seek(SeekFrom::Start(at)).context(context)?;
                Ok(file.into())
            }
        }
    }

    /// Why the input is incomplete, if it is.
    pub(super) fn failed(&self) -> Option<String> {
        match self {
            Self::File => None,
            Self::Kept(kept) => kept.extent.borrow().failed.clone(),
        }
    }
}

/// Reads an input to its end, in a thread, since nothing else ends a wait for it when kvmc ends.
fn keep(mut from: impl Read + Send + 'static, file: File) -> Kept {
    let file = Arc::new(file);
    let (sender, extent) = watch::channel(Extent::default());
    let mut into = Arc::clone(&file);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let failed = loop {
            match from.read(&mut buffer) {
                Ok(0) => break None,
                Ok(n) => {
                    if let Err(e) = into.write_all(buffer.get(..n).unwrap_or_default()) {
                        break Some(e.to_string());
                    }
                    sender.send_modify(|extent| extent.bytes += n as u64);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => break Some(e.to_string()),
            }
        };
        sender.send_modify(|extent| {
            extent.is_whole = failed.is_none();
            extent.failed = failed;
        });
    });
    Kept { file, extent }
}

impl Kept {
    /// Gives a command the whole input. Returns only if the input cannot be given whole; otherwise it waits for ever,
    /// since the command decides when it ends.
    pub(super) async fn feed(mut self, mut stdin: ChildStdin) {
        let mut given = 0;
        let mut buffer = vec![0; CHUNK];
        loop {
            let extent = self.extent.borrow_and_update().clone();
            if extent.failed.is_some() {
                return;
            }
            while given < extent.bytes {
                let Ok(n @ 1..) = self.file.read_at(&mut buffer, given) else {
                    return;
                };
                let bytes = buffer.get(..n).unwrap_or_default();
                if stdin.write_all(bytes).await.is_err() {
                    // The command wants no more of it.
                    return std::future::pending().await;
                }
                given += n as u64;
            }
            if extent.is_whole {
                drop(stdin);
                return std::future::pending().await;
            }
            if self.extent.changed().await.is_err() && self.extent.borrow().failed.is_none() {
                // The thread has told its last.
                if !self.extent.borrow().is_whole {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cat() -> tokio::process::Child {
        #[expect(clippy::disallowed_methods, reason = "a program that reads")]
        let mut command = tokio::process::Command::new("cat");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    #[tokio::test]
    async fn every_reader_gets_all_bytes_and_one_that_does_not_read_delays_no_other() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let kept = keep(
            std::io::Cursor::new(bytes.clone()),
            tempfile::tempfile().unwrap(),
        );
        let mut hangs = cat();
        let hung = tokio::spawn(kept.clone().feed(hangs.stdin.take().unwrap()));
        for _ in 0..2 {
            let mut child = cat();
            let feeding = tokio::spawn(kept.clone().feed(child.stdin.take().unwrap()));
            let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output());
            assert!(output.await.unwrap().unwrap().stdout == bytes);
            feeding.abort();
        }
        assert!(!hung.is_finished(), "nobody reads what this cat writes");
    }

    #[tokio::test]
    async fn an_input_that_cannot_be_kept_is_not_given_as_a_whole_one() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let kept = keep(std::io::Cursor::new(vec![1; 100]), full);
        let mut child = cat();
        let fed = kept.clone().feed(child.stdin.take().unwrap());
        tokio::time::timeout(Duration::from_secs(20), fed)
            .await
            .unwrap();
        let failed = Input::Kept(kept).failed().unwrap();
        assert!(failed.contains("No space left"), "{failed}");
    }
}

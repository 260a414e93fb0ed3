//! The lock that lets one kvmc download a file while others wait for it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::event::Event;
use crate::error::ImageError;

/// The time between two attempts to take it.
const RETRY: Duration = Duration::from_millis(100);

/// The lock of one download.
pub(super) struct DownloadLock {
    _lock: Flock<File>,
    /// Another kvmc held it before.
    pub(super) has_waited: bool,
}

impl DownloadLock {
    /// Takes the lock. Waits while another kvmc holds it.
    ///
    /// # Errors
    /// The file cannot be locked.
    pub(super) async fn take(path: &Path, say: &mut dyn FnMut(Event)) -> Result<Self, ImageError> {
        let mut has_waited = false;
        loop {
            let file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(ImageError::io(format!("open {}", path.display())))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    return Ok(Self {
                        _lock: lock,
                        has_waited,
                    });
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    if !has_waited {
                        has_waited = true;
                        say(Event::Say("another kvmc downloads it; waiting".to_owned()));
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err((_, e)) => {
                    return Err(ImageError::io(format!("lock {}", path.display()))(e.into()));
                }
            }
        }
    }
}

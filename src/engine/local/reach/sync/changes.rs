//! Word of changes in folders, by inotify(7).

#![allow(
    unsafe_code,
    reason = "tokio wants to be told that a descriptor stays open"
)]

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::hint::add_hint;

/// Events of folders.
const EVENTS: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

/// inotify(7) for tokio.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Tells that something in watched folders has changed; what it is, another look shows.
pub(super) struct Watch(AsyncFd<Descriptor>);

impl Watch {
    /// # Errors
    /// Fails if the kernel gives no inotify instance.
    pub(super) fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("no inotify instance; fs.inotify.max_user_instances limits them")?;
        // SAFETY: an Inotify keeps its descriptor open while it lives, and always the same one.
        let watched =
            unsafe { AsyncFd::register_with_interest(Descriptor(inotify), Interest::READABLE) };
        let watched = watched.map_err(std::io::Error::from);
        let watched = watched.context("inotify cannot be watched")?;
        Ok(Self(watched))
    }

    /// Watches a folder, if that is not watched yet.
    ///
    /// # Errors
    /// Fails if the kernel allows no more watches.
    pub(super) fn add(&self, folder: &Path) -> Result<()> {
        match self.0.get_ref().0.add_watch(folder, EVENTS) {
            Err(Errno::ENOSPC) => Err(add_hint(
                anyhow::anyhow!("the host allows no more folders to be watched"),
                "`sysctl fs.inotify.max_user_watches=524288` allows more, and --exclude leaves folders out".to_owned(),
            )),
            // What cannot be read is told by the look that follows.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Waits for a change. It does not matter whether events were lost.
    pub(super) async fn changed(&self) {
        loop {
            let Ok(mut ready) = self.0.readable().await else {
                return std::future::pending().await;
            };
            let mut any = false;
            while self
                .0
                .get_ref()
                .0
                .read_events()
                .is_ok_and(|e| !e.is_empty())
            {
                any = true;
            }
            ready.clear_ready();
            if any {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_change_in_a_watched_folder_is_told_and_one_elsewhere_is_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("other")).unwrap();
        let watch = Watch::new().unwrap();
        watch.add(dir.path()).unwrap();
        watch.add(dir.path()).unwrap();
        let soon = |time| tokio::time::timeout(Duration::from_millis(time), watch.changed());
        std::fs::write(dir.path().join("other/x"), "").unwrap();
        assert!(soon(50).await.is_err());
        std::fs::write(dir.path().join("x"), "").unwrap();
        assert!(soon(5000).await.is_ok());
        assert!(soon(50).await.is_err());
    }
}

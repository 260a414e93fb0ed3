//! One writer a cluster, by flock(2): a holder that dies frees it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::ClusterDir;
use super::store::private_dir;
use crate::failpoint::failpoint;

/// The lock of a cluster, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock for `verb`, making the cluster's folder if need be; waits up to `wait`.
    ///
    /// # Errors
    /// Who holds it, for which verb and since when.
    pub(crate) async fn take(dir: &ClusterDir, verb: &str, wait: Duration) -> Result<Self> {
        let until = Instant::now() + wait;
        loop {
            private_dir(dir.path())?;
            let path = dir.lock();
            let opened = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let file = match opened {
                Ok(file) => file.into_parts().0,
                // `down` removed the folder that was just made sure of.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir_is_gone(dir) => continue,
                Err(e) => return Err(e.into()),
            };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) if is_at(&held, &path) => {
                    let mut lock = Self { _file: held, path };
                    if let Err(error) = lock.sign(verb) {
                        lock.abandon();
                        return Err(error);
                    }
                    if let Err(error) = taken() {
                        lock.abandon();
                        return Err(error);
                    }
                    return Ok(lock);
                }
                // `down` removed the file between our open and our lock: that lock is of nothing.
                Ok(_) => continue,
                Err((mut file, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() >= until => {
                    let mut holder = String::new();
                    let _unread = file.read_to_string(&mut holder);
                    bail!(
                        "the cluster is locked by {}; wait for it to end, or pass --wait SECONDS",
                        if holder.is_empty() {
                            "another kvmc"
                        } else {
                            holder.trim()
                        }
                    );
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err((_, e)) => {
                    return Err(e).with_context(|| format!("failed to lock {}", path.display()));
                }
            }
        }
    }

    /// Who holds the lock of a cluster, for which verb and since when. Reads what the kernel shows of the process that
    /// signed the lock: to try the lock would be in the way of who takes it.
    pub(crate) fn holder(dir: &ClusterDir) -> Option<String> {
        let text = fs_err::read_to_string(dir.lock()).ok()?;
        let pid: u32 = text.strip_prefix("pid ")?.split(' ').next()?.parse().ok()?;
        has_locked(pid, &dir.lock())?.then(|| text.trim().to_owned())
    }

    /// Gives the lock back, and removes the cluster's folder if there is nothing else in it: then it was
    /// made for the lock, and no cluster came of it.
    pub(crate) fn abandon(self) {
        let Some(dir) = self.path.parent() else {
            return;
        };
        let alone = std::fs::read_dir(dir).is_ok_and(|entries| entries.count() == 1);
        if alone && std::fs::remove_file(&self.path).is_ok() {
            let _new_in_it = std::fs::remove_dir(dir);
            let _others_there = dir.parent().map(std::fs::remove_dir);
        }
    }

    fn sign(&mut self, verb: &str) -> Result<()> {
        let now = humantime(std::time::SystemTime::now());
        let text = format!("pid {} (kvmc {verb}, since {now})\n", std::process::id());
        let file: &mut File = &mut self._file;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .with_context(|| format!("failed to write {}", self.path.display()))
    }
}

fn taken() -> Result<()> {
    failpoint!("up.lock");
    Ok(())
}

/// Whether a process has a flock(2) on a file, by proc_pid_fdinfo(5). Its descriptor leads to the file itself, where
/// /proc/locks has the numbers of a file system, which stat(2) of btrfs and overlayfs does not give.
fn has_locked(pid: u32, path: &Path) -> Option<bool> {
    let process = Path::new("/proc").join(pid.to_string());
    let wanted = fs_err::metadata(path).ok()?;
    let has = |entry: std::fs::DirEntry| {
        let there = std::fs::metadata(entry.path()).ok()?;
        let is_same = (there.dev(), there.ino()) == (wanted.dev(), wanted.ino());
        let info = process.join("fdinfo").join(entry.file_name());
        let lists_lock = || Some(std::fs::read_to_string(info).ok()?.contains(" FLOCK "));
        Some(is_same && lists_lock()?)
    };
    let mut open = std::fs::read_dir(process.join("fd")).ok()?.flatten();
    Some(open.any(|entry| has(entry) == Some(true)))
}

fn dir_is_gone(dir: &ClusterDir) -> bool {
    !dir.path().exists()
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs_err::metadata(path)) {
        (Ok(held), Ok(there)) => held.ino() == there.ino() && held.dev() == there.dev(),
        _ => false,
    }
}

/// `HH:MM:SS` UTC of today: who waits for a lock wants no more.
fn humantime(now: std::time::SystemTime) -> String {
    let seconds = now
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    format!(
        "{:02}:{:02}:{:02} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[tokio::test]
    async fn the_second_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let set = |n: &str| (n == "KVMC_STATE_DIR").then(|| dir.path().display().to_string());
        let cluster = State::locate(set, true).unwrap().cluster("k80");
        let held = Lock::take(&cluster, "up", Duration::ZERO).await.unwrap();
        let error = Lock::take(&cluster, "down", Duration::ZERO)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("pid {} (kvmc up", std::process::id())),
            "{error}"
        );
        let holder = Lock::holder(&cluster).unwrap();
        assert!(holder.contains("(kvmc up, since "), "{holder}");
        drop(held);
        assert_eq!(Lock::holder(&cluster), None);
        // It is signed by this process, which has the file open and no lock on it.
        let _open = File::open(cluster.lock()).unwrap();
        assert_eq!(Lock::holder(&cluster), None);
        Lock::take(&cluster, "down", Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn abandoned_it_leaves_a_folder_only_where_there_is_more_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let set = |n: &str| (n == "KVMC_STATE_DIR").then(|| dir.path().display().to_string());
        let cluster = State::locate(set, true).unwrap().cluster("k80");
        let lock = Lock::take(&cluster, "up", Duration::ZERO).await.unwrap();
        lock.abandon();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let lock = Lock::take(&cluster, "up", Duration::ZERO).await.unwrap();
        std::fs::write(cluster.record(), "").unwrap();
        lock.abandon();
        assert!(cluster.record().exists() && cluster.lock().exists());
    }
}

//! One writer a cluster, by flock(2). The kernel releases the lock when its holder dies.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::ClusterDir;
use super::store::private_dir;
use crate::failpoint::failpoint;
use crate::hint::add_hint;

/// Another verb holds the lock, which the text names.
#[derive(Debug, thiserror::Error)]
#[error("the cluster is locked by {0}")]
pub(crate) struct Locked(String);

/// The lock of a cluster, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: Flock<File>,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock for `verb`, and makes the cluster's folder if necessary. Waits up to `wait`.
    ///
    /// # Errors
    /// Fails with the holder of the lock, its verb and its start time.
    pub(crate) async fn take(dir: &ClusterDir, verb: &str, wait: Duration) -> Result<Self> {
        let until = Instant::now() + wait;
        loop {
            // Who may write into one of them could put others in the place of those below.
            for folder in dir.folders() {
                private_dir(folder)?;
            }
            let path = dir.lock();
            let opened = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            let file = match opened {
                Ok(file) => file.into_parts().0,
                // Another `down` has just removed the folder.
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
                // Another `down` removed the file between open and lock, so this lock protects nothing.
                Ok(_) => continue,
                Err((mut file, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() >= until => {
                    let mut holder = String::new();
                    let _unread = file.read_to_string(&mut holder);
                    let holder = match holder.trim() {
                        "" => "another kvmc".to_owned(),
                        holder => holder.to_owned(),
                    };
                    let hint = "wait for it to end, or pass --wait SECONDS".to_owned();
                    return Err(add_hint(Locked(holder).into(), hint));
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err((_, e)) => {
                    return Err(e).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
    }

    /// The holder of a cluster's lock, with its verb and start time. It is read from what the kernel shows of the
    /// process that signed the lock, because trying the lock would get in the way of another verb.
    pub(crate) fn holder(dir: &ClusterDir) -> Option<String> {
        let text = fs_err::read_to_string(dir.lock()).ok()?;
        let pid: u32 = text.strip_prefix("pid ")?.split(' ').next()?.parse().ok()?;
        has_locked(pid, &dir.lock())?.then(|| text.trim().to_owned())
    }

    /// Whether another process than this one holds a cluster's lock.
    pub(crate) fn is_held_by_another(dir: &ClusterDir) -> bool {
        let own = format!("pid {} ", std::process::id());
        Self::holder(dir).is_some_and(|holder| !holder.starts_with(&own))
    }

    /// Releases the lock, and removes the cluster's folder if it holds nothing else. Then the folder was made for the
    /// lock only.
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
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn taken() -> Result<()> {
    failpoint!("up.lock");
    Ok(())
}

/// Whether a process holds a flock(2) on a file, by proc_pid_fdinfo(5). The descriptor identifies the file;
/// /proc/locks shows numbers of a file system that stat(2) does not give on btrfs and overlayfs.
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

/// Today's time as `HH:MM:SS UTC`.
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
    async fn the_error_names_the_holder_of_the_lock() {
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
        // This process signed the file and has it open, but holds no lock on it.
        let _open = File::open(cluster.lock()).unwrap();
        assert_eq!(Lock::holder(&cluster), None);
        Lock::take(&cluster, "down", Duration::ZERO).await.unwrap();
    }

    #[tokio::test]
    async fn an_abandoned_lock_leaves_only_a_folder_with_other_files() {
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

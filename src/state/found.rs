//! The state of a record on disk: whole, damaged with a good copy, or from a newer kvmc.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::namespace::{namespace, namespace_is_gone};
use super::record::{FORMAT, Phase};
use super::store::read_json;
use super::{ClusterDir, ClusterRecord, Lock, migrate};
use crate::hint::{OTHER_USER, add_hint, command, find};
use crate::ids::boot_id;

/// What was found of a record.
#[derive(Debug)]
pub(crate) enum Found {
    /// Neither the record nor a copy.
    Nothing,
    Whole(Box<ClusterRecord>),
    /// The last good copy. The error says why the record is damaged or missing.
    Copy(Box<ClusterRecord>, anyhow::Error),
    /// The record is damaged, and so is its copy or it has none.
    Unreadable(anyhow::Error),
    /// A newer kvmc wrote the record, or this user may not read it. This process leaves the cluster alone.
    NotOurs(anyhow::Error),
}

impl Found {
    pub(crate) fn look(dir: &ClusterDir) -> Self {
        match Self::look_once(dir) {
            // Without the lock, a record may appear between the looks at it and at its copy.
            Self::Copy(..) => Self::look_once(dir),
            found => found,
        }
    }

    fn look_once(dir: &ClusterDir) -> Self {
        let path = dir.record();
        let error = match read(dir, &path) {
            Ok(Some(record)) => return Self::Whole(Box::new(record)),
            Ok(None) => None,
            Err(error) if is_denied(&error) => {
                return Self::NotOurs(add_hint(error, OTHER_USER.to_owned()));
            }
            Err(error) if error.is::<Newer>() => return Self::NotOurs(error),
            Err(error) => Some(error),
        };
        match (read(dir, &dir.last_record()), error) {
            (Ok(Some(copy)), error) => Self::Copy(
                Box::new(copy),
                error.unwrap_or_else(|| anyhow::anyhow!("{} is missing", path.display())),
            ),
            (Err(copy), None) if copy.is::<Newer>() => Self::NotOurs(copy),
            (_, Some(error)) | (Err(error), None) => Self::Unreadable(error),
            (Ok(None), None) => Self::Nothing,
        }
    }

    /// The record, or its last good copy.
    pub(crate) fn record(self) -> Option<ClusterRecord> {
        match self {
            Self::Whole(record) | Self::Copy(record, _) => Some(*record),
            _ => None,
        }
    }
}

/// Whether an error says that this user may not read a file, which is not damage.
pub(crate) fn is_denied(error: &anyhow::Error) -> bool {
    find::<std::io::Error>(error).is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
}

/// A record in a format of a newer kvmc.
#[derive(Debug, thiserror::Error)]
#[error("{} has format {format}, but this kvmc knows formats up to {FORMAT}; use the kvmc that wrote it", path.display())]
struct Newer {
    path: PathBuf,
    format: u64,
}

fn read(dir: &ClusterDir, path: &Path) -> Result<Option<ClusterRecord>> {
    let Some(value) = read_json::<Value>(path)? else {
        return Ok(None);
    };
    let format = value.get("format").and_then(Value::as_u64).unwrap_or(0);
    if format > u64::from(FORMAT) {
        let path = path.to_owned();
        return Err(Newer { path, format }.into());
    }
    let mut record = migrate::read(value, format)
        .map_err(|e| e.context(format!("{} is damaged", path.display())))?;
    record.notice_reboot(&boot_id()?);
    let here = namespace()?;
    let made_in = record.host.namespace;
    if made_in != 0 && made_in != here && record.phase != Phase::Stopped && is_gone(dir, &record) {
        record.notice_lost_namespace(here);
    }
    Ok(Some(record))
}

/// Whether a cluster's namespace is gone. That of a fork lives by the fork's processes. Others that are in a namespace with
/// its inode may be in a later one, and what a killed verb had begun ends by itself.
fn is_gone(dir: &ClusterDir, record: &ClusterRecord) -> bool {
    let inode = record.host.namespace;
    let is_lost =
        || record.host.fork.is_some() && !dir.is_inhabited(inode) && !Lock::is_held_by_another(dir);
    namespace_is_gone(inode) || is_lost()
}

impl ClusterRecord {
    /// The record of a cluster; `None` if there is no such cluster.
    ///
    /// # Errors
    /// Fails if the record is damaged or missing, with the cure, or if a newer kvmc wrote it.
    pub(crate) fn load(dir: &ClusterDir) -> Result<Option<Self>> {
        match Found::look(dir) {
            Found::Nothing => Ok(None),
            Found::Whole(record) => Ok(Some(*record)),
            Found::Copy(copy, error) => {
                let name = dir.name();
                let error = error.context(format!("the record of cluster `{name}` cannot be read"));
                let (fix, down) = (command(&name, "doctor --fix"), command(&name, "down"));
                let generation = copy.generation;
                Err(add_hint(
                    error,
                    format!(
                        "{fix} restores its last good copy (generation {generation}); {down} removes the cluster"
                    ),
                ))
            }
            Found::Unreadable(error) => {
                let name = dir.name();
                let error = error.context(format!(
                    "the record of cluster `{name}` cannot be read and has no good copy"
                ));
                let down = command(&name, "down");
                Err(add_hint(
                    error,
                    format!("{down} removes the remains of the cluster"),
                ))
            }
            Found::NotOurs(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    use std::time::{Duration, Instant};

    use nix::libc::O_NONBLOCK;
    use nix::sys::stat::Mode;

    use super::*;
    use crate::state::{Phase, State};

    /// Opens `fifo` once it has a reader. Fails after ten seconds without one.
    fn reader_of(fifo: &Path) -> std::io::Result<std::fs::File> {
        let mut options = std::fs::File::options();
        options.write(true).custom_flags(O_NONBLOCK);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match options.open(fifo) {
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                opened => return opened,
            }
        }
    }

    #[test]
    fn p9_a_record_that_appears_between_the_two_looks_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = State::at(root.path()).cluster("k80");
        std::fs::create_dir_all(dir.path()).unwrap();
        // The reader has seen that there is no record, and is held at the copy.
        let copy = dir.last_record();
        nix::unistd::mkfifo(&copy, Mode::S_IRWXU).unwrap();
        let looked = std::thread::scope(|scope| {
            let up = scope.spawn(|| {
                let mut reader = reader_of(&copy)?;
                crate::samples::record().save(&dir).unwrap();
                reader.write_all(&std::fs::read(dir.record())?)
            });
            let looked = Found::look(&dir);
            up.join().unwrap().unwrap();
            looked
        });
        assert!(matches!(looked, Found::Whole(_)), "{looked:?}");
    }

    #[test]
    fn p21_a_cluster_of_an_earlier_boot_counts_as_stopped() {
        for (phase, after) in [
            (Phase::Up, Phase::Stopped),
            (Phase::Starting, Phase::Stopped),
            (Phase::Removing, Phase::Removing),
        ] {
            let mut record = crate::samples::record();
            record.phase = phase;
            record.host.forwarding_was_off = true;
            record.notice_reboot("now");
            assert_eq!(record.phase, phase, "no boot was written down");
            record.host.boot_id = "before".to_owned();
            record.notice_reboot("before");
            assert_eq!((record.phase, record.host_rebooted), (phase, false));
            record.notice_reboot("now");
            assert_eq!(record.phase, after);
            assert_eq!(record.host_rebooted, after == Phase::Stopped);
        }
    }
}

//! A record as it is found on disk: whole, damaged with a good copy, or of another kvmc.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::record::FORMAT;
use super::store::read_json;
use super::{ClusterDir, ClusterRecord, migrate};
use crate::hint::{advise, command};
use crate::ids::boot_id;

/// What there is of a record.
#[derive(Debug)]
pub(crate) enum Found {
    /// Neither it nor a copy of it.
    Nothing,
    Whole(Box<ClusterRecord>),
    /// It is damaged or gone, which the error says; its last good copy.
    Copy(Box<ClusterRecord>, anyhow::Error),
    /// It is damaged, and so is its copy, or there is none.
    Unreadable(anyhow::Error),
    /// It is of a newer kvmc, and none of our business.
    Newer(anyhow::Error),
}

impl Found {
    pub(crate) fn look(dir: &ClusterDir) -> Self {
        match Self::look_once(dir) {
            // Without the lock, a record may have come between the look at it and the one at its copy.
            Self::Copy(..) => Self::look_once(dir),
            found => found,
        }
    }

    fn look_once(dir: &ClusterDir) -> Self {
        let path = dir.record();
        let error = match read(&path) {
            Ok(Some(record)) => return Self::Whole(Box::new(record)),
            Ok(None) => None,
            Err(error) if error.is::<Newer>() => return Self::Newer(error),
            Err(error) => Some(error),
        };
        match (read(&dir.last_record()), error) {
            (Ok(Some(copy)), error) => Self::Copy(
                Box::new(copy),
                error.unwrap_or_else(|| anyhow::anyhow!("{} is gone", path.display())),
            ),
            (Err(copy), None) if copy.is::<Newer>() => Self::Newer(copy),
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

/// A record of a later format.
#[derive(Debug, thiserror::Error)]
#[error("{} is of format {format}, this kvmc knows {FORMAT}; use the kvmc that made it", path.display())]
struct Newer {
    path: PathBuf,
    format: u64,
}

fn read(path: &Path) -> Result<Option<ClusterRecord>> {
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
    Ok(Some(record))
}

impl ClusterRecord {
    /// The record of a cluster; `None` when there is no such cluster.
    ///
    /// # Errors
    /// A file that is damaged or gone, with what to do, or of a newer kvmc.
    pub(crate) fn load(dir: &ClusterDir) -> Result<Option<Self>> {
        match Found::look(dir) {
            Found::Nothing => Ok(None),
            Found::Whole(record) => Ok(Some(*record)),
            Found::Copy(copy, error) => {
                let name = dir.name();
                let error = error.context(format!("the record of cluster `{name}` cannot be used"));
                let (fix, down) = (command(&name, "doctor --fix"), command(&name, "down"));
                let generation = copy.generation;
                Err(advise(
                    error,
                    format!(
                        "{fix} puts its last good copy (generation {generation}) back; {down} removes the cluster"
                    ),
                ))
            }
            Found::Unreadable(error) => {
                let name = dir.name();
                let error = error.context(format!(
                    "the record of cluster `{name}` cannot be used and has no good copy"
                ));
                let down = command(&name, "down");
                Err(advise(
                    error,
                    format!("{down} removes what is left of the cluster"),
                ))
            }
            Found::Newer(error) => Err(error),
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

    /// A reader of `fifo`, once there is one; none within ten seconds is an error.
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
    fn p9_a_record_that_comes_between_the_looks_at_it_and_at_its_copy_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = State::at(root.path()).cluster("k80");
        std::fs::create_dir_all(dir.path()).unwrap();
        // The reader is held at the copy, when it has seen already that there is no record.
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
    fn p21_a_cluster_of_an_earlier_boot_is_stopped_wherever_it_was() {
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

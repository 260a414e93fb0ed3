//! Guests that QEMU has paused because their disk could not be written, and when they resume.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use kvmc_qmp::Client;
use serde_json::{Value, json};

use super::attended::Attended;
use crate::state::{ClusterDir, NodeDir, Restoration, read_json, remove_file};

/// Interval between checks of the free space.
const LOOK: Duration = Duration::from_secs(1);
/// Free bytes at which a guest resumes. With less it would pause again at once.
const ENOUGH: u64 = 16 << 20;

/// Why a guest is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pause {
    NoSpace(PathBuf),
    /// Another error of its disk, in QEMU's words.
    Disk(String),
    /// A QMP client asked for it.
    PullOptions,
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSpace(path) => write!(f, "no space on {}", path.display()),
            Self::Disk(reason) => write!(f, "the disk cannot be read or written: {reason}"),
            Self::PullOptions => f.write_str("stopped through QMP"),
        }
    }
}

impl Pause {
    /// Reads the event `BLOCK_IO_ERROR` of QEMU's QAPI reference, if it pauses the guest.
    pub(crate) fn of_event(data: &Value, dir: &Path) -> Option<Self> {
        let text = |key: &str| data.get(key).and_then(Value::as_str);
        if text("action") != Some("stop") {
            return None;
        }
        Some(
            if data.get("nospace").and_then(Value::as_bool) == Some(true) {
                Self::NoSpace(mount_point(dir))
            } else {
                Self::Disk(text("reason").unwrap_or("no reason given").to_owned())
            },
        )
    }

    /// Why a guest is paused that was paused before the keeper came. `query-block` holds the kind of the last error.
    pub(super) async fn found(qmp: &Client, dir: &Path) -> Self {
        const DEADLINE: Duration = Duration::from_secs(5);
        let blocks = qmp.request("query-block", json!({}), DEADLINE).await;
        let blocks = blocks.unwrap_or_default();
        let statuses = blocks.as_array().into_iter().flatten();
        let mut statuses = statuses.filter_map(|b| b.get("io-status").and_then(Value::as_str));
        match statuses.find(|s| *s != "ok") {
            Some("nospace") => Self::NoSpace(mount_point(dir)),
            Some(_) => Self::Disk("an I/O error".to_owned()),
            None => Self::PullOptions,
        }
    }
}

/// Lets a guest go on that kvmc has paused. What a suspended cluster would resume from no longer fits its disks then.
///
/// # Errors
/// Fails if QEMU refuses.
pub(super) async fn let_go(qmp: &Client, cluster: &ClusterDir, dir: &NodeDir) -> Result<()> {
    remove_suspended(cluster)?;
    qmp.execute(qapi_qmp::cont {}).await?;
    remove_file(&dir.pausing())
}

/// Removes what a suspended cluster would resume from.
///
/// # Errors
/// Fails if it cannot be removed.
pub(super) fn remove_suspended(cluster: &ClusterDir) -> Result<()> {
    let restoration = read_json::<Restoration>(&cluster.restoring())?;
    if restoration.is_some_and(|r| r.snapshot.is_none()) {
        remove_file(&cluster.restoring())?;
    }
    match fs_err::remove_dir_all(cluster.suspended()) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

impl Attended {
    /// Reports the pause, and resumes the guest once there is space.
    pub(super) async fn resume_when_possible(self, qmp: Client, why: Pause) {
        let name = self.node.name.clone();
        self.status.pause(&name, Some(why.to_string()));
        if !matches!(why, Pause::NoSpace(_)) {
            return;
        }
        while free(self.dir.path()).is_none_or(|free| free < ENOUGH) {
            tokio::time::sleep(LOOK).await;
        }
        // If QEMU refuses or does not answer, the guest resumes at the next check, or `kvmc stop` resumes it.
        let _told_by_its_event = qmp.execute(qapi_qmp::cont {}).await;
    }
}

/// Bytes free on the folder's file system for users other than root, because QEMU does not run as root.
fn free(dir: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    stat.blocks_available().checked_mul(stat.fragment_size())
}

/// The mount point of a folder's file system.
fn mount_point(dir: &Path) -> PathBuf {
    let device = |path: &Path| std::fs::metadata(path).map(|m| m.dev()).ok();
    let own = device(dir);
    let inside = dir.ancestors().take_while(|a| device(a) == own);
    inside.last().unwrap_or(dir).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p22_a_full_disk_is_told_from_other_disk_errors() {
        let event = |nospace: bool, action: &str| {
            let data = json!({ "device": "", "operation": "write", "action": action,
                "nospace": nospace, "reason": "No space left on device" });
            Pause::of_event(&data, Path::new("/proc/self"))
        };
        assert_eq!(
            event(true, "stop").unwrap().to_string(),
            "no space on /proc"
        );
        assert_eq!(
            event(false, "stop").unwrap().to_string(),
            "the disk cannot be read or written: No space left on device"
        );
        assert_eq!(event(true, "report"), None);
        assert_eq!(Pause::of_event(&Value::Null, Path::new("/")), None);
    }
}

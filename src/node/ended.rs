//! Records how and when nodes ended, for later questions.

use std::fs::File;
use std::process::ExitStatus;

use anyhow::Result;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::death::Evidence;
use super::process::Identity;
use crate::host::{Kmsg, kmsg};
use crate::ids::{boot_id, now};
use crate::model::Cause;
use crate::state::{NodeDir, NodeRecord, read_json, replace_json};

/// Most characters kept of QEMU's last line.
const LONGEST_WORDS: usize = 300;

/// `end.json`: the last end or reboot of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) cause: Cause,
    /// The process that ended. A restarted node has another one.
    pub(crate) process: Identity,
}

impl Ended {
    /// Records the end of a node's process.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn record(dir: &NodeDir, cause: Cause, process: Identity) -> Result<Self> {
        let ended = Self {
            time: now(),
            cause,
            process,
        };
        replace_json(&dir.end(), &ended, 0o600)?;
        Ok(ended)
    }

    /// Records an end that the parent of a QEMU saw, unless the keeper knows more. A keeper that saw a short-lived
    /// QEMU may know nothing, or only that it is missing.
    pub(crate) fn witness(dir: &NodeDir, process: &Identity, status: ExitStatus) {
        let _alone = alone(dir);
        if matches!(Self::of(dir, process).0, Cause::Unseen | Cause::Vanished) {
            let evidence = Evidence {
                status: Some(status),
                words: last_words(dir),
                ..Evidence::default()
            };
            let _told_by_the_caller = Self::record(dir, evidence.judge(), process.clone());
        }
    }

    /// Records an end that this process saw, and returns the known cause, because the parent may have recorded more. A
    /// failed write goes to the log.
    pub(crate) fn see(dir: &NodeDir, process: &Identity, cause: Cause) -> Cause {
        let _alone = alone(dir);
        let best = match (cause, Self::of(dir, process).0) {
            (Cause::Vanished, Cause::Unseen | Cause::HostRebooted) => Cause::Vanished,
            (Cause::Vanished, told) => told,
            (cause, _) => cause,
        };
        let is_old_news = Self::last(dir).is_some_and(|last| {
            last.process.boot_id == process.boot_id && last.process.start_time > process.start_time
        });
        if is_old_news {
            return best;
        }
        if let Err(e) = Self::record(dir, best.clone(), process.clone()) {
            // stderr goes to keeper.log.
            crate::output::error(&e);
        }
        best
    }

    /// Records an end that nobody saw. Its time is unknown, so the current time stands for it.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(crate) fn record_unseen(
        dir: &NodeDir,
        node: &NodeRecord,
        process: &Identity,
    ) -> Result<()> {
        if Self::of(dir, process).0 == Cause::Unseen
            && kmsg(node.uid, process.start_time) == Kmsg::Killed
        {
            Self::record(dir, Cause::OutOfMemory, process.clone())?;
        }
        Ok(())
    }

    /// Whether the node continues, with another QEMU or the same.
    pub(crate) fn is_reboot(&self) -> bool {
        self.cause == Cause::Rebooted
    }

    /// The last end of a node. An unreadable file counts as missing, because this is information only.
    pub(crate) fn last(dir: &NodeDir) -> Option<Self> {
        read_json(&dir.end()).ok().flatten()
    }

    /// The end of a process: the recorded one, or what can still be found out.
    pub(crate) fn of(dir: &NodeDir, process: &Identity) -> (Cause, Option<f64>) {
        match Self::last(dir) {
            Some(ended) if ended.process == *process && ended.cause != Cause::Rebooted => {
                (ended.cause, Some(ended.time))
            }
            _ if boot_id().is_ok_and(|id| id != process.boot_id) => (Cause::HostRebooted, None),
            _ => (Cause::Unseen, None),
        }
    }
}

/// Locks the file, so that the parent of a QEMU and the keeper do not overwrite each other's record.
fn alone(dir: &NodeDir) -> Option<Flock<File>> {
    Flock::lock(File::open(dir.path()).ok()?, FlockArg::LockExclusive).ok()
}

/// The last line of QEMU's log, without control characters.
pub(crate) fn last_words(dir: &NodeDir) -> String {
    let bytes = std::fs::read(dir.qemu_log()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().rfind(|l| !l.trim().is_empty());
    line.unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST_WORDS)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A node's folder in a state folder, and a process that was its QEMU.
    fn node(root: &std::path::Path) -> (NodeDir, Identity) {
        let node = crate::state::State::at(root).cluster("k80").node("master0");
        std::fs::create_dir_all(node.path()).unwrap();
        let process = Identity {
            pid: 4,
            start_time: 5,
            boot_id: boot_id().unwrap(),
            mark: "u".to_owned(),
        };
        (node, process)
    }

    #[test]
    fn p17_the_parents_record_stays_whoever_writes_first() {
        let root = tempfile::tempdir().unwrap();
        let (node, process) = node(root.path());
        std::fs::write(node.qemu_log(), "cannot do it\n").unwrap();
        let told = Cause::Failed {
            status: 3,
            words: "cannot do it".to_owned(),
        };
        for _ in 0..300 {
            let _none_there = std::fs::remove_file(node.end());
            let both = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    both.wait();
                    Ended::witness(&node, &process, ExitStatus::from_raw(3 << 8));
                });
                both.wait();
                Ended::see(&node, &process, Cause::Vanished);
            });
            assert_eq!(Ended::of(&node, &process).0, told);
        }
        // News of an earlier process may arrive late.
        let before = Identity {
            start_time: 1,
            ..process.clone()
        };
        assert_eq!(Ended::see(&node, &before, Cause::Quit), Cause::Quit);
        assert_eq!(Ended::of(&node, &process).0, told);
    }

    #[test]
    fn p20_an_end_belongs_to_one_process_and_a_host_reboot_is_known_by_its_boot_id() {
        let root = tempfile::tempdir().unwrap();
        let (node, process) = node(root.path());
        assert_eq!(Ended::of(&node, &process).0, Cause::Unseen);
        let earlier = Identity {
            boot_id: "earlier".to_owned(),
            ..process.clone()
        };
        assert_eq!(Ended::of(&node, &earlier).0, Cause::HostRebooted);
        Ended::record(&node, Cause::Panicked, process.clone()).unwrap();
        assert_eq!(Ended::of(&node, &process).0, Cause::Panicked);
        let next = Identity { pid: 6, ..process };
        assert_eq!(Ended::of(&node, &next).0, Cause::Unseen);
        std::fs::write(node.end(), "{").unwrap();
        assert_eq!(Ended::last(&node), None);
    }
}

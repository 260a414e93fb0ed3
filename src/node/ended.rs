//! The ends of nodes, written down with the time, so that they are known when nobody asks until later.

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

/// Longest part of QEMU's own last words that is kept, in characters.
const LONGEST_WORDS: usize = 300;

/// `end.json`: the last end, or reboot, of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) cause: Cause,
    /// The process whose end it was: of a node that runs again, this one is another.
    pub(crate) process: Identity,
}

impl Ended {
    /// Writes it down for a node.
    ///
    /// # Errors
    /// The system's, with the path.
    pub(crate) fn record(dir: &NodeDir, cause: Cause, process: Identity) -> Result<Self> {
        let ended = Self {
            time: now(),
            cause,
            process,
        };
        replace_json(&dir.end(), &ended, 0o600)?;
        Ok(ended)
    }

    /// Writes down an end that the parent of a QEMU saw, unless the keeper knows better: of one that ended
    /// at once, it may have seen nothing, or no more than that it is gone.
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

    /// Writes down an end that we saw ourselves; gives back what is known of it, for its parent may have told
    /// more already. What cannot be written is in the log.
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
            // Into keeper.log: stderr leads there.
            crate::output::error(&e);
        }
        best
    }

    /// Writes down an end that nobody saw: when it was is not known, so the time is now.
    ///
    /// # Errors
    /// The system's, with the path.
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

    /// Whether the node is to go on, with another QEMU or the same.
    pub(crate) fn is_reboot(&self) -> bool {
        self.cause == Cause::Rebooted
    }

    /// The last one of a node. One that cannot be read is as good as none: it is told, not acted on.
    pub(crate) fn last(dir: &NodeDir) -> Option<Self> {
        read_json(&dir.end()).ok().flatten()
    }

    /// The end of a process that is gone, when it was written down, and else what can still be known.
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

/// Keeps the parent of a QEMU and the keeper from each writing over what the other has just told of its end.
fn alone(dir: &NodeDir) -> Option<Flock<File>> {
    Flock::lock(File::open(dir.path()).ok()?, FlockArg::LockExclusive).ok()
}

/// The last line of what QEMU said, without what a terminal would act on.
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
    fn p17_what_the_parent_of_a_qemu_saw_stays_whoever_is_first() {
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
        // Of a process before it, word comes late at times.
        let before = Identity {
            start_time: 1,
            ..process.clone()
        };
        assert_eq!(Ended::see(&node, &before, Cause::Quit), Cause::Quit);
        assert_eq!(Ended::of(&node, &process).0, told);
    }

    #[test]
    fn p20_an_end_is_of_one_process_and_a_host_that_rebooted_is_known_by_its_boot() {
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

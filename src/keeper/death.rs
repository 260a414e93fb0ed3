//! How a node's QEMU ended: told apart by what QEMU said, by its exit and by the kernel's log, and
//! written down with the time, so that it is known when nobody asks until later.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::{CgroupKills, Kmsg, kmsg};
use crate::node::{Identity, boot_id};
use crate::spec::Restart;
use crate::state::{NodeDir, NodeRecord, read_json, replace_json};

/// Longest part of QEMU's own last words that is kept, in characters.
const LONGEST_WORDS: usize = 300;

/// Why a QEMU ended, or a guest went back to its boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// By the guest.
    PoweredOff,
    /// By the guest; the node goes on.
    Rebooted,
    /// The guest's kernel.
    Panicked,
    /// By kvmc.
    Quit,
    /// QEMU was asked to end by a signal, and did so in order.
    Terminated,
    /// By the kernel, for want of memory.
    OutOfMemory,
    /// By a signal; `maybe_memory` where it may have been the kernel's, and its log is closed to us.
    Killed { signal: i32, maybe_memory: bool },
    /// QEMU ended itself, with this exit status and these last words.
    Failed { status: i32, words: String },
    /// QEMU gave another reason, of its QAPI's `ShutdownCause`.
    Other(String),
    /// Killed or crashed: this kernel does not say how.
    Vanished,
    /// With the host.
    HostRebooted,
    /// While there was no keeper to see it.
    Unseen,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("the guest powered off"),
            Self::Rebooted => f.write_str("the guest rebooted"),
            Self::Panicked => f.write_str("the guest's kernel panicked"),
            Self::Quit => f.write_str("kvmc ended it"),
            Self::Terminated => f.write_str("a signal asked QEMU to end"),
            Self::OutOfMemory => f.write_str("killed by the host's kernel for want of memory"),
            Self::Killed {
                signal,
                maybe_memory,
            } => {
                let memory = if *maybe_memory {
                    "; for the host's memory? /dev/kmsg cannot be read here"
                } else {
                    ""
                };
                write!(f, "killed by signal {signal}{memory}")
            }
            Self::Failed { status, words } if words.is_empty() => {
                write!(f, "QEMU ended with exit status {status}")
            }
            Self::Failed { status, words } => {
                write!(f, "QEMU ended with exit status {status}: {words}")
            }
            Self::Other(reason) => write!(f, "QEMU ended ({reason})"),
            Self::Vanished => f.write_str("QEMU was killed or crashed"),
            Self::HostRebooted => f.write_str("the host rebooted"),
            Self::Unseen => f.write_str("it ended while no keeper ran"),
        }
    }
}

impl Cause {
    /// Whether a policy has the node started again after this.
    pub(super) const fn calls_for_restart(&self, policy: Restart) -> bool {
        match (policy, self) {
            (Restart::Never, _) | (_, Self::Quit | Self::HostRebooted | Self::Rebooted) => false,
            (Restart::Always, _) => true,
            (Restart::OnFailure, Self::PoweredOff | Self::Terminated | Self::Unseen) => false,
            (Restart::OnFailure, _) => true,
        }
    }
}

/// All that was seen of an end.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// `reason` of QEMU's event `SHUTDOWN`.
    pub(super) reason: Option<String>,
    /// QEMU's event `GUEST_PANICKED`.
    pub(super) panicked: bool,
    pub(super) status: Option<ExitStatus>,
    /// What the kernel's log says.
    pub(super) kmsg: Option<Kmsg>,
    /// Its cgroup has counted another death for memory.
    pub(super) cgroup_kill: bool,
    /// The last line of QEMU's log.
    pub(super) words: String,
}

impl Evidence {
    /// What it comes to. Who was killed says nothing, so QEMU's own word comes first.
    pub(crate) fn judge(&self) -> Cause {
        if self.panicked {
            return Cause::Panicked;
        }
        match self.reason.as_deref() {
            Some("guest-shutdown") => return Cause::PoweredOff,
            Some("guest-reset") => return Cause::Rebooted,
            Some("guest-panic") => return Cause::Panicked,
            Some("host-qmp-quit") => return Cause::Quit,
            Some("host-signal") => return Cause::Terminated,
            Some(other) => return Cause::Other(other.to_owned()),
            None => {}
        }
        let signal = self.status.and_then(|s| s.signal());
        if self.kmsg == Some(Kmsg::Killed) {
            return Cause::OutOfMemory;
        }
        match (signal, self.status.and_then(|s| s.code())) {
            (Some(9), _) | (None, None) if self.cgroup_kill => Cause::OutOfMemory,
            (Some(signal), _) => Cause::Killed {
                signal,
                maybe_memory: signal == 9 && self.kmsg == Some(Kmsg::Closed),
            },
            (None, Some(status)) => Cause::Failed {
                status,
                words: self.words.clone(),
            },
            (None, None) => Cause::Vanished,
        }
    }

    /// Takes note of one of QEMU's events.
    pub(crate) fn hear(&mut self, event: &str, data: &Value) {
        match event {
            "SHUTDOWN" => {
                let reason = data.get("reason").and_then(Value::as_str);
                self.reason = Some(reason.unwrap_or("no reason given").to_owned());
            }
            "GUEST_PANICKED" => self.panicked = true,
            _ => {}
        }
    }

    /// Adds what the host knows of it.
    pub(super) fn look(&mut self, node: &NodeRecord, process: &Identity, kills: &CgroupKills) {
        self.kmsg = Some(kmsg(node.uid, process.start_time));
        self.cgroup_kill = kills.has_grown();
    }
}

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
        if matches!(Self::of(dir, process).0, Cause::Unseen | Cause::Vanished) {
            let evidence = Evidence {
                status: Some(status),
                words: last_words(dir),
                ..Evidence::default()
            };
            let _told_by_the_caller = Self::record(dir, evidence.judge(), process.clone());
        }
    }

    /// What is known of an end that we saw ourselves: its parent may have told more already.
    pub(super) fn best(dir: &NodeDir, process: &Identity, cause: Cause) -> Cause {
        match (cause, Self::of(dir, process).0) {
            (Cause::Vanished, Cause::Unseen | Cause::HostRebooted) => Cause::Vanished,
            (Cause::Vanished, told) => told,
            (cause, _) => cause,
        }
    }

    /// Writes down an end that nobody saw: when it was is not known, so the time is now.
    ///
    /// # Errors
    /// The system's, with the path.
    pub(super) fn record_unseen(
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

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |d| d.as_secs_f64())
}

/// The last line of what QEMU said, without what a terminal would act on.
pub(super) fn last_words(dir: &NodeDir) -> String {
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
    use serde_json::json;

    use super::*;

    fn said(reason: &str) -> Evidence {
        let mut evidence = Evidence::default();
        evidence.hear("SHUTDOWN", &json!({ "guest": true, "reason": reason }));
        evidence
    }

    fn exit(raw: i32, kmsg: Kmsg) -> Evidence {
        Evidence {
            status: Some(ExitStatus::from_raw(raw)),
            kmsg: Some(kmsg),
            words: "qemu: no".to_owned(),
            ..Evidence::default()
        }
    }

    #[test]
    fn p20_deaths_are_told_apart() {
        let mut panicked = said("guest-panic");
        panicked.hear("GUEST_PANICKED", &json!({ "action": "poweroff" }));
        let by_cgroup = Evidence {
            cgroup_kill: true,
            ..exit(9, Kmsg::Closed)
        };
        for (evidence, words) in [
            (said("guest-shutdown"), "the guest powered off"),
            (said("guest-reset"), "the guest rebooted"),
            (panicked, "the guest's kernel panicked"),
            (said("host-qmp-quit"), "kvmc ended it"),
            (said("host-signal"), "a signal asked QEMU to end"),
            (said("of-2040"), "QEMU ended (of-2040)"),
            (
                exit(9, Kmsg::Killed),
                "killed by the host's kernel for want of memory",
            ),
            (by_cgroup, "killed by the host's kernel for want of memory"),
            (exit(9, Kmsg::Silent), "killed by signal 9"),
            (exit(11, Kmsg::Closed), "killed by signal 11"),
            (
                exit(9, Kmsg::Closed),
                "killed by signal 9; for the host's memory? /dev/kmsg cannot be read here",
            ),
            (
                exit(1 << 8, Kmsg::Silent),
                "QEMU ended with exit status 1: qemu: no",
            ),
            (Evidence::default(), "QEMU was killed or crashed"),
        ] {
            assert_eq!(evidence.judge().to_string(), words);
        }
    }

    #[test]
    fn a_policy_calls_for_a_restart_after_what_it_says() {
        let killed = Cause::Killed {
            signal: 9,
            maybe_memory: false,
        };
        for (cause, on_failure, always) in [
            (Cause::PoweredOff, false, true),
            (Cause::Panicked, true, true),
            (Cause::OutOfMemory, true, true),
            (killed, true, true),
            (Cause::Quit, false, false),
            (Cause::HostRebooted, false, false),
        ] {
            assert!(!cause.calls_for_restart(Restart::Never));
            assert_eq!(
                cause.calls_for_restart(Restart::OnFailure),
                on_failure,
                "{cause}"
            );
            assert_eq!(cause.calls_for_restart(Restart::Always), always, "{cause}");
        }
    }

    #[test]
    fn p20_an_end_is_of_one_process_and_a_host_that_rebooted_is_known_by_its_boot() {
        let dir = tempfile::tempdir().unwrap();
        let state = crate::state::State::locate(
            |n| (n == "KVMC_STATE_DIR").then(|| dir.path().display().to_string()),
            true,
        )
        .unwrap();
        let node = state.cluster("k80").node("master0");
        std::fs::create_dir_all(node.path()).unwrap();
        let process = Identity {
            pid: 4,
            start_time: 5,
            boot_id: boot_id().unwrap(),
            mark: "u".to_owned(),
        };
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

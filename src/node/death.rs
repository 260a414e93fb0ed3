//! Finds out how a node's QEMU ended, from QEMU's events, its exit status and the kernel's log.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde_json::Value;

use super::process::Identity;
use crate::host::{CgroupKills, Kmsg, kmsg};
use crate::model::Cause;
use crate::state::NodeRecord;

/// Everything known about the end of a QEMU.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// `reason` of QEMU's event `SHUTDOWN`.
    pub(crate) reason: Option<String>,
    /// QEMU's event `GUEST_PANICKED` came.
    pub(crate) panicked: bool,
    pub(crate) status: Option<ExitStatus>,
    /// The finding in the kernel's log.
    pub(crate) kmsg: Option<Kmsg>,
    /// The cgroup's counter of memory kills has grown.
    pub(crate) cgroup_kill: bool,
    /// The last line of QEMU's log.
    pub(crate) words: String,
}

impl Evidence {
    /// Concludes the cause. QEMU's own event comes first, because a killed QEMU sends none.
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

    /// Notes one of QEMU's events.
    pub(crate) fn note_event(&mut self, event: &str, data: &Value) {
        match event {
            "SHUTDOWN" => {
                let reason = data.get("reason").and_then(Value::as_str);
                self.reason = Some(reason.unwrap_or("no reason given").to_owned());
            }
            "GUEST_PANICKED" => self.panicked = true,
            _ => {}
        }
    }

    /// Adds what the host knows about the end.
    pub(crate) fn look(&mut self, node: &NodeRecord, process: &Identity, kills: &CgroupKills) {
        self.kmsg = Some(kmsg(node.uid, process.start_time));
        self.cgroup_kill = kills.has_grown();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(reason: &str) -> Evidence {
        let mut evidence = Evidence::default();
        evidence.note_event("SHUTDOWN", &json!({ "guest": true, "reason": reason }));
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
    fn p20_causes_of_death_are_told_apart() {
        let mut panicked = said("guest-panic");
        panicked.note_event("GUEST_PANICKED", &json!({ "action": "poweroff" }));
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
                "killed by the host's kernel because memory ran out",
            ),
            (
                by_cgroup,
                "killed by the host's kernel because memory ran out",
            ),
            (exit(9, Kmsg::Silent), "killed by signal 9"),
            (exit(11, Kmsg::Closed), "killed by signal 11"),
            (
                exit(9, Kmsg::Closed),
                "killed by signal 9, perhaps because memory ran out (/dev/kmsg cannot be read here)",
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
}

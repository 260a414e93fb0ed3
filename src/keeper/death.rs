//! How a node's QEMU ended: told apart by what QEMU said, by its exit and by the kernel's log.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::host::{CgroupKills, Kmsg, kmsg};
use crate::node::Identity;
use crate::spec::Restart;
use crate::state::NodeRecord;

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
}

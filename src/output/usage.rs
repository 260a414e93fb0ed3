//! The columns of the table of nodes.

use crate::ids::span;
use crate::model::{MachineStatus, NodeStatus, VitalsStatus};
use crate::spec::{Bytes, approximate};

/// A column of the table of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Node,
    State,
    Address,
    Uptime,
    Vcpus,
    Cpu,
    Ram,
    Rss,
    Pss,
    Shared,
    Private,
    Disk,
    Grown,
    Steal,
    Drift,
}

impl Column {
    /// The columns of a table. Those of memory and disk in detail do not fit into 80 columns of a terminal.
    pub(super) fn of(is_emulated: bool, wide: bool) -> Vec<Self> {
        use Column::{
            Address, Cpu, Disk, Drift, Grown, Node, Private, Pss, Ram, Rss, Shared, State, Steal,
            Uptime, Vcpus,
        };
        let all = [
            Node, State, Address, Uptime, Vcpus, Cpu, Ram, Rss, Pss, Shared, Private, Disk, Grown,
            Steal, Drift,
        ];
        let is_shown = |column: &Self| match column {
            Pss | Shared | Private | Grown => wide,
            // These disturb a guest's own timeouts, see docs/EMULATION.md.
            Steal | Drift => is_emulated,
            _ => true,
        };
        all.into_iter().filter(is_shown).collect()
    }

    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::State => "STATE",
            Self::Address => "ADDRESS",
            Self::Uptime => "UPTIME",
            Self::Vcpus => "VCPUS",
            Self::Cpu => "CPU",
            Self::Ram => "RAM",
            Self::Rss => "RSS",
            Self::Pss => "PSS",
            Self::Shared => "SHARED",
            Self::Private => "PRIVATE",
            Self::Disk => "DISK",
            Self::Grown => "GROWN",
            Self::Steal => "STEAL",
            Self::Drift => "DRIFT",
        }
    }

    pub(super) fn cell(self, node: &NodeStatus) -> String {
        let usage = &node.usage;
        let recorded = |of: fn(&MachineStatus) -> String| known(node.machine.as_ref().map(of));
        match self {
            Self::Node => node.name.clone(),
            Self::State => node.state.clone(),
            Self::Address => recorded(|m| m.address.to_string()),
            Self::Uptime => known(usage.uptime.map(span)),
            Self::Vcpus => recorded(|m| m.vcpus.to_string()),
            Self::Cpu => known(usage.cpu.map(percent)),
            Self::Ram => recorded(|m| Bytes(m.ram).to_string()),
            Self::Rss => known(usage.rss.map(approximate)),
            Self::Pss => known(usage.pss.map(approximate)),
            Self::Shared => known(usage.shared.map(approximate)),
            Self::Private => known(usage.private.map(approximate)),
            Self::Disk => recorded(disks),
            Self::Grown => known(usage.grown.map(approximate)),
            Self::Steal => known(node.vitals.steal.map(percent)),
            Self::Drift => known(drift(&node.vitals)),
        }
    }
}

/// An unknown value is not shown as zero.
fn known(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// A node's disk and its extra disks.
fn disks(machine: &MachineStatus) -> String {
    let extra = machine.disks.iter();
    let extra: String = extra.map(|size| format!(" +{}", Bytes(*size))).collect();
    format!("{}{extra}", Bytes(machine.disk))
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn drift(vitals: &VitalsStatus) -> Option<String> {
    Some(match (vitals.clock_drift?, vitals.clock_drift_error) {
        // A difference within the error of the measurement is not drift.
        (drift, Some(error)) if drift.abs() <= error => format!("<{:.2} s", error.max(0.01)),
        (drift, _) => format!("{drift:+.2} s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(drift: f64, error: f64) -> String {
        let vitals = VitalsStatus {
            clock_drift: Some(drift),
            clock_drift_error: Some(error),
            ..VitalsStatus::default()
        };
        super::drift(&vitals).unwrap()
    }

    #[test]
    fn a_drift_within_the_error_of_asking_is_shown_as_a_bound() {
        assert_eq!(drift(0.004, 0.03), "<0.03 s");
        assert_eq!(drift(-0.004, 0.005), "<0.01 s");
        assert_eq!(drift(-2.5, 0.03), "-2.50 s");
        assert_eq!(drift(0.5, 0.03), "+0.50 s");
    }

    #[test]
    fn an_unknown_value_is_not_shown_as_zero() {
        assert_eq!(known(super::drift(&VitalsStatus::default())), "-");
        assert_eq!(percent(0.256), "26%");
    }
}

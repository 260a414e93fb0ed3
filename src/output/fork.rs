//! Forks.

use super::{talk, up};
use crate::hint::command;
use crate::model::{Exit, ForkReport, Forked, UpOutcome};

/// Prints that a cluster was forked, and how its nodes are reached.
pub(crate) fn forked(report: &ForkReport) -> Exit {
    if let UpOutcome::Done { failed, .. } = &report.start.outcome
        && !failed.is_empty()
    {
        return up(&report.start);
    }
    talk(&text(report));
    Exit::Done
}

pub(super) fn text(report: &ForkReport) -> String {
    let Forked {
        name,
        of,
        snapshot,
        nodes,
        paused,
        took,
    } = &report.forked;
    let stood = paused.map_or_else(String::new, |paused| {
        format!(
            ", for which `{of}` stood still for {} ms",
            paused.as_millis()
        )
    });
    format!(
        "forked `{of}` as `{name}` from snapshot `{snapshot}`: {nodes} nodes run after {:.1} s{stood}\n  hint: {} is a shell on a node of the fork, {} removes the fork",
        took.as_secs_f64(),
        command(name, &format!("ssh {}", report.start.first)),
        command(name, "down"),
    )
}

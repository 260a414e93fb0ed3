//! Forks.

use std::time::Duration;

use super::{talk, up};
use crate::hint::command;
use crate::model::{Exit, Forked, UpOutcome, UpReport};

/// Prints that a cluster was forked, and how its nodes are reached. `took` is the time until they ran.
pub(crate) fn forked(fork: &Forked, report: &UpReport, took: Duration) -> Exit {
    if let UpOutcome::Done { failed, .. } = &report.outcome
        && !failed.is_empty()
    {
        return up(report);
    }
    talk(&text(fork, report, took));
    Exit::Done
}

pub(super) fn text(fork: &Forked, report: &UpReport, took: Duration) -> String {
    let Forked {
        name,
        of,
        snapshot,
        nodes,
        paused,
        ..
    } = fork;
    let stood = paused.map_or_else(String::new, |paused| {
        format!(
            ", for which `{of}` stood still for {} ms",
            paused.as_millis()
        )
    });
    format!(
        "forked `{of}` as `{name}` from snapshot `{snapshot}`: {nodes} nodes run after {:.1} s{stood}\n  hint: {} is a shell on a node of the fork, {} removes the fork",
        took.as_secs_f64(),
        command(name, &format!("ssh {}", report.first)),
        command(name, "down"),
    )
}

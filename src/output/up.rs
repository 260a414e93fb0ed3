//! The closing messages of `up` and `start`, and the plan of `up --dry-run`.

use super::{count, data, seconds, talk};
use crate::hint::command;
use crate::model::{Exit, PlanReport, UpOutcome, UpReport};

/// Reports the outcome, and each failed node with its reason.
pub(crate) fn up(report: &UpReport) -> Exit {
    let cluster = &report.cluster;
    let (started, failed) = match &report.outcome {
        UpOutcome::NothingToDo => {
            talk(&format!("cluster `{cluster}` is up; nothing to do"));
            return Exit::Done;
        }
        UpOutcome::Done { started, failed } => (started, failed),
    };
    for failure in failed {
        talk(&format!("error: {}: {}", failure.node, failure.why));
    }
    if !failed.is_empty() {
        let (up, down) = (command(cluster, "up"), command(cluster, "down"));
        talk(&format!(
            "error: {} of {} nodes are not ready\n  hint: {up} tries again, {down} removes the cluster",
            failed.len(),
            report.nodes
        ));
        return Exit::SomeNodes;
    }
    if started.is_empty() {
        talk(&format!(
            "cluster `{cluster}` is complete again; all its nodes were running"
        ));
        return Exit::Done;
    }
    talk(&format!(
        "cluster `{cluster}`: {} of {} started, all ready in {}",
        started.len(),
        count(report.nodes, "node"),
        seconds(report.took)
    ));
    // There is no inventory outside the project folder.
    if std::env::current_dir().is_ok_and(|here| here == report.project) {
        let ssh = command(cluster, &format!("ssh {}", report.first));
        talk(&format!(
            "  {}\n  ansible -i inventory all -m ping",
            ssh.trim_matches('`')
        ));
    }
    Exit::Done
}

/// Prints one step a line.
pub(crate) fn plan(report: &PlanReport) -> Exit {
    data(&plan_text(report));
    Exit::Done
}

pub(super) fn plan_text(report: &PlanReport) -> String {
    let lines = report.steps.iter().map(|step| format!("{step}\n"));
    lines.collect()
}

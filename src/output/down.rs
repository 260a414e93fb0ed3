//! The closing messages of `down`.

use super::{count, talk};
use crate::hint::command;
use crate::model::{DownReport, Exit, Found};

/// Reports what was removed and what could not be.
pub(crate) fn down(report: &DownReport) -> Exit {
    let cluster = &report.cluster;
    for error in &report.errors {
        talk(&format!("error: {error}"));
    }
    for kept in &report.kept {
        talk(kept);
    }
    if !report.errors.is_empty() {
        talk(&format!(
            "cluster `{cluster}` is not completely removed\n  hint: {} tries again",
            command(cluster, "down")
        ));
        return Exit::Failed;
    }
    talk(&match &report.found {
        Found::Nothing => format!("there is no cluster `{cluster}`; nothing to do"),
        Found::Leftovers(left) => format!(
            "there is no cluster `{cluster}`; removed its remains: {}",
            left.join(", ")
        ),
        Found::Folder => format!(
            "there was no cluster `{cluster}`; removed its folder, which a killed kvmc had left"
        ),
        Found::Cluster => {
            let were = if report.killed == 1 { "was" } else { "were" };
            format!(
                "cluster `{cluster}` is removed ({} {were} running)",
                count(report.killed, "node")
            )
        }
    });
    Exit::Done
}

//! What `down` says in the end.

use super::{count, talk};
use crate::hint::command;
use crate::model::{DownReport, Exit, Found};

/// Says what is gone, and what is not.
pub(crate) fn down(report: &DownReport) -> Exit {
    let cluster = &report.cluster;
    for error in &report.errors {
        talk(&format!("error: {error}"));
    }
    if let Some(kept) = &report.kept {
        talk(kept);
    }
    if !report.errors.is_empty() {
        talk(&format!(
            "cluster `{cluster}` is not wholly gone\n  hint: {} tries again",
            command(cluster, "down")
        ));
        return Exit::Failed;
    }
    talk(&match &report.found {
        Found::Nothing => format!("there is no cluster `{cluster}`; nothing to do"),
        Found::Leftovers(left) => format!(
            "there is no cluster `{cluster}`; removed what was left of one: {}",
            left.join(", ")
        ),
        Found::Folder => format!(
            "there was no cluster `{cluster}`; its folder, left by a kvmc that was killed, is gone"
        ),
        Found::Cluster => {
            let were = if report.killed == 1 { "was" } else { "were" };
            format!(
                "cluster `{cluster}` is gone ({} {were} running)",
                count(report.killed, "node")
            )
        }
    });
    Exit::Done
}

//! What `stop` says in the end; of each node it was said as it stopped.

use super::talk;
use crate::model::{Exit, StopReport};

/// Says what went wrong.
pub(crate) fn stop(report: &StopReport) -> Exit {
    if report.was_stopped {
        talk(&format!("cluster `{}` is stopped already", report.cluster));
        return Exit::Done;
    }
    for error in &report.errors {
        talk(&format!("error: {error}"));
    }
    if let Some(kept) = &report.kept {
        talk(kept);
    }
    if report.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

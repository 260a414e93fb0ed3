//! The closing messages of `stop`; each node was reported when it stopped.

use super::talk;
use crate::model::{Exit, StopReport};

/// Reports the errors.
pub(crate) fn stop(report: &StopReport) -> Exit {
    if report.was_stopped {
        talk(&format!("cluster `{}` is already stopped", report.cluster));
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

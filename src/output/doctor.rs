//! The findings of `doctor`.

use super::{data, table};
use crate::model::{Exit, Finding};

/// Prints the findings as a table.
pub(crate) fn doctor(findings: &[Finding]) -> Exit {
    data(&doctor_text(findings));
    if findings.iter().any(|f| f.verdict.is_bad()) {
        Exit::Failed
    } else {
        Exit::Done
    }
}

pub(super) fn doctor_text(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|f| vec![f.check.clone(), f.verdict.name().to_owned(), f.what.clone()])
        .collect();
    table(&["CHECK", "FINDING", ""], &rows)
}

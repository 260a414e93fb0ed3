//! The findings of `doctor`.

use anyhow::Result;

use super::{data, json, table};
use crate::model::{DoctorReport, Exit, Finding};

/// Prints the findings as a table or as JSON.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn doctor(report: &DoctorReport, as_json: bool) -> Result<Exit> {
    if as_json {
        json(report)?;
    } else {
        data(&doctor_text(&report.findings));
    }
    Ok(match report.findings.iter().any(|f| f.verdict.is_bad()) {
        true => Exit::Failed,
        false => Exit::Done,
    })
}

pub(super) fn doctor_text(findings: &[Finding]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|f| {
            let cure = f.cure.as_ref().map(|cure| format!("; {cure}"));
            let what = format!("{}{}", f.what, cure.unwrap_or_default());
            vec![f.check.clone(), f.verdict.name().to_owned(), what]
        })
        .collect();
    table(&["CHECK", "FINDING", ""], &rows)
}

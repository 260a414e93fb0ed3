//! The results of `support` and `version`.

use anyhow::Result;

use super::{count, data, json, talk};
use crate::model::{SupportReport, VersionReport};
use crate::spec::approximate;

/// Prints the path of the archive, and on stderr what to do with it.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn support(report: &SupportReport, as_json: bool) -> Result<()> {
    if as_json {
        return json(report);
    }
    let files = count(report.files.len(), "file");
    let size = approximate(report.size);
    talk(&format!(
        "packed {files}, {size}; passwords, keys and user data are left out, and addresses and names stay: read it before you pass it on"
    ));
    data(&format!("{}\n", report.file.display()));
    Ok(())
}

/// Prints versions as text or as JSON.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn version(report: &VersionReport, as_json: bool) -> Result<()> {
    if as_json {
        return json(report);
    }
    data(&version_text(report));
    Ok(())
}

/// A line for each program.
pub(crate) fn version_text(report: &VersionReport) -> String {
    let VersionReport {
        version, commit, ..
    } = report;
    let commit = commit.as_ref().map(|c| format!(" ({c})"));
    let qemu = match &report.qemu {
        Some(qemu) => format!("{}, {}", qemu.version, qemu.path.display()),
        None => "not found".to_owned(),
    };
    format!(
        "kvmc {version}{}\nQEMU {qemu}\n",
        commit.unwrap_or_default()
    )
}

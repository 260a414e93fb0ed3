//! `version`.

use anyhow::Result;
use kvmc_images::Architecture;

use crate::cli::{COMMIT, VERSION, VersionFlags};
use crate::host::{host_version, qemu_version};
use crate::model::{Exit, QemuVersion, SCHEMA, VersionReport};
use crate::output;

pub(super) fn run(flags: VersionFlags) -> Result<Exit> {
    output::version(&report(), flags.json)?;
    Ok(Exit::Done)
}

fn report() -> VersionReport {
    let qemu = Architecture::host().and_then(qemu_version);
    VersionReport {
        schema: SCHEMA,
        version: VERSION.to_owned(),
        commit: Some(COMMIT.to_owned()).filter(|c| !c.is_empty()),
        qemu: qemu.map(|(version, path)| QemuVersion { version, path }),
    }
}

/// The versions of kvmc, of QEMU and of the host.
pub(super) fn text() -> String {
    format!("{}{}", output::version_text(&report()), host_version())
}

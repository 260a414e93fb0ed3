//! `doctor`.

use anyhow::{Context, Result};
use kvmc_images::Architecture;

use super::Session;
use crate::model::Exit;
use crate::output;
use crate::spec::{Key, Layer, Source, check};

pub(super) async fn run(session: &Session, fix: bool, arch: Option<&str>) -> Result<Exit> {
    Architecture::host().context("kvmc runs on amd64 and arm64 hosts")?;
    let engine = session.engine()?;
    // First, since a damaged record is in the way of the settings.
    let remains = engine.remains(fix).await?;
    let mut flags = Layer::default();
    if let Some(arch) = arch {
        let source = Source::Flag("--arch".to_owned());
        flags.set_text(Key::cluster("architecture"), arch, source);
    }
    let spec = check(&session.settings(&engine, flags)?)?;
    let mut findings = engine.doctor(spec.architecture, fix)?;
    findings.extend(remains);
    Ok(output::doctor(&findings))
}

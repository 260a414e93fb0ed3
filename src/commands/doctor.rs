//! `doctor`.

use anyhow::{Context, Result};
use kvmc_images::Architecture;

use super::Session;
use crate::model::Exit;
use crate::output;
use crate::spec::{Key, Layer, Source, check};

pub(super) async fn run(session: &Session, fix: bool, arch: Option<&str>) -> Result<Exit> {
    Architecture::host()
        .context("unsupported architecture of this host; kvmc runs on amd64 and arm64")?;
    let engine = session.engine()?;
    // This comes first, because a damaged record keeps the settings from being read.
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

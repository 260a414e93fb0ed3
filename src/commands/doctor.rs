//! `doctor`.

use anyhow::{Context, Result};
use kvmc_images::Architecture;

use super::Session;
use crate::cli::DoctorFlags;
use crate::engine::Local;
use crate::model::{DoctorReport, Exit, SCHEMA, Verdict};
use crate::output;
use crate::spec::{Key, Layer, Source, check};

pub(super) async fn run(session: &Session, flags: &DoctorFlags) -> Result<Exit> {
    Architecture::host()
        .context("unsupported architecture of this host; kvmc runs on amd64 and arm64")?;
    if flags.undo {
        let engine = session.host()?;
        let noted = engine.noted_fixes()?;
        if !flags.yes && output::can_ask() {
            output::talk(&format!("noted: {}", noted.join(", ")));
            if output::confirm("remove these packages and rules?") != Some(true) {
                output::talk("nothing was changed");
                return Ok(Exit::Failed);
            }
        }
        let findings = engine.undo_fixes()?;
        let schema = SCHEMA;
        return output::doctor(&DoctorReport { schema, findings }, flags.json);
    }
    let engine = session.engine()?;
    let mut fix = flags.fix;
    if fix && !flags.yes && output::can_ask() {
        // Nobody is asked where nothing is to be mended.
        let before = look(session, &engine, false, flags.arch.as_deref()).await;
        let is_fine = |verdict| matches!(verdict, Verdict::Ok | Verdict::Slow);
        let is_whole = match before {
            Ok(before) if before.findings.iter().all(|f| is_fine(f.verdict)) => true,
            Ok(before) => {
                output::doctor(&before, false)?;
                false
            }
            // A damaged record is to be mended too.
            Err(error) => {
                output::error(&error);
                false
            }
        };
        if !is_whole {
            fix = output::confirm("mend what is missing, damaged or left?") == Some(true);
            if !fix {
                output::talk("nothing was changed");
                return Ok(Exit::Failed);
            }
        }
    }
    output::doctor(
        &look(session, &engine, fix, flags.arch.as_deref()).await?,
        flags.json,
    )
}

/// What `doctor` finds, without a change.
pub(super) async fn report(session: &Session, engine: &Local) -> Result<DoctorReport> {
    look(session, engine, false, None).await
}

async fn look(
    session: &Session,
    engine: &Local,
    fix: bool,
    arch: Option<&str>,
) -> Result<DoctorReport> {
    // This comes first, because a damaged record keeps the settings from being read.
    let remains = engine.remains(fix).await?;
    let mut flags = Layer::default();
    if let Some(arch) = arch {
        let source = Source::Flag("--arch".to_owned());
        flags.set_text(Key::cluster("architecture"), arch, source);
    }
    let spec = check(&session.settings(engine, flags)?)?;
    let mut findings = engine.doctor(spec.architecture, fix)?;
    findings.extend(engine.doctor_of_network(spec).await);
    findings.extend(remains);
    let schema = SCHEMA;
    Ok(DoctorReport { schema, findings })
}

//! `support`.

use std::path::Path;

use anyhow::Result;

use super::{Session, doctor, version};
use crate::cli::SupportFlags;
use crate::engine::local::SupportParts;
use crate::engine::{Lifecycle, Local};
use crate::model::Exit;
use crate::output;

/// The file, unless another one is named.
const FILE: &str = "kvmc-support.tar.gz";

pub(super) async fn run(session: &Session, flags: &SupportFlags) -> Result<Exit> {
    let engine = session.host()?;
    let parts = SupportParts {
        versions: version::text(),
        doctor: doctor::report(session, &engine).await,
        status: status(&engine).await,
    };
    let out = flags.out.as_deref().unwrap_or(Path::new(FILE));
    output::support(&engine.support(out, &parts)?, flags.json)?;
    Ok(Exit::Done)
}

async fn status(engine: &Local) -> Result<serde_json::Value> {
    let mut status = engine.status().await?;
    engine.measure_memory(&mut status);
    Ok(serde_json::to_value(status)?)
}

//! `stop`.

use std::time::Duration;

use anyhow::Result;

use super::Session;
use crate::engine::Lifecycle;
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, patience: Duration) -> Result<Exit> {
    let report = session.engine()?.stop(patience).await?;
    Ok(output::stop(&report))
}

//! `status`.

use anyhow::Result;

use super::Session;
use crate::engine::Lifecycle;
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, as_json: bool) -> Result<Exit> {
    let status = session.engine()?.status().await?;
    output::status(&status, as_json)?;
    Ok(Exit::Done)
}

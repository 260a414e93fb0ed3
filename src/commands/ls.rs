//! `ls`.

use anyhow::Result;

use super::Session;
use crate::cli::LsFlags;
use crate::model::Exit;
use crate::output;

pub(super) async fn run(session: &Session, flags: LsFlags) -> Result<Exit> {
    output::clusters(&session.host()?.list_clusters().await?, flags.json)?;
    Ok(Exit::Done)
}

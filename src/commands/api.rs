//! `mcp` and `serve`: the doors for programs.

use std::path::Path;

use anyhow::Result;

use super::Session;
use crate::api;
use crate::model::Exit;

pub(super) async fn mcp(session: &Session) -> Result<Exit> {
    api::mcp(session.named_by_flag()?.map(str::to_owned)).await?;
    Ok(Exit::Done)
}

pub(super) async fn serve(session: &Session, socket: &Path) -> Result<Exit> {
    api::serve(socket, session.named_by_flag()?.map(str::to_owned)).await?;
    Ok(Exit::Done)
}

//! Lines of a connection from the CLI.

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::protocol::{Answer, Line, Step};

/// Largest step, in bytes.
const LONGEST: u64 = 256;

/// Sends an answer.
pub(super) async fn say(writer: &mut OwnedWriteHalf, answer: Answer) -> Result<()> {
    let mut line =
        serde_json::to_vec(&Line::new(answer)).context("an answer cannot be written as JSON")?;
    line.push(b'\n');
    writer
        .write_all(&line)
        .await
        .context("the CLI closed the connection")
}

/// The next step that the CLI asks for; `None` when it has ended or sends something else.
pub(super) async fn step(reader: &mut BufReader<OwnedReadHalf>) -> Option<Step> {
    let mut line = String::new();
    let read = reader.take(LONGEST).read_line(&mut line).await;
    let Ok(1..) = read else { return None };
    let line: Line<Step> = serde_json::from_str(&line).ok()?;
    Some(line.body)
}

//! `console`.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::Session;
use crate::cli::ConsoleFlags;
use crate::engine::Reach;
use crate::interrupt::Interrupt;
use crate::model::{Exit, Stream};
use crate::output;

/// Ctrl-], as in virsh and telnet.
const LEAVE: u8 = 0x1d;

pub(super) async fn run(session: &Session, flags: &ConsoleFlags) -> Result<Exit> {
    let engine = session.engine()?;
    if flags.history {
        output::bytes(Stream::Out, &engine.console_history(&flags.node)?);
        return Ok(Exit::Done);
    }
    let mut console = engine.console(&flags.node).await?;
    let mut interrupt = Interrupt::listen()?;
    let context = "the window's size cannot be watched";
    let mut resized = signal(SignalKind::window_change()).context(context)?;
    let how = format!("console of {}; Ctrl-] leaves it", flags.node);
    let terminal = output::Terminal::raw(&how)?;
    console.size.send_replace(terminal.size());
    let mut typed = output::typed();
    let mut can_type = true;
    // Input that the node has not taken yet. Output is shown meanwhile: neither side waits for the other.
    let mut unsent: Option<Vec<u8>> = None;
    loop {
        tokio::select! {
            shown = console.shown.recv() => match shown {
                Some(shown) if terminal.show(&shown) => {}
                _ => return Ok(Exit::Done),
            },
            keys = typed.recv(), if can_type && unsent.is_none() => match keys {
                Some(keys) if terminal.is_one() => {
                    let end = keys.iter().position(|key| *key == LEAVE);
                    let keys = keys.get(..end.unwrap_or(keys.len())).unwrap_or_default();
                    // Keys that nobody reads must not delay the key to leave.
                    let _not_read = console.typed.try_send(keys.to_vec());
                    if end.is_some() {
                        return Ok(Exit::Done);
                    }
                }
                Some(bytes) => unsent = Some(bytes),
                None if terminal.is_one() => return Ok(Exit::Done),
                None => can_type = false,
            },
            place = console.typed.reserve(), if unsent.is_some() => {
                // A console that has ended takes no input.
                if let (Ok(place), Some(bytes)) = (place, unsent.take()) {
                    place.send(bytes);
                }
            }
            _ = resized.recv() => {
                console.size.send_replace(terminal.size());
            }
            () = interrupt.wait() => return Ok(Exit::Interrupted),
        }
    }
}

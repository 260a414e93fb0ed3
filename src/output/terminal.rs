//! The user's terminal as the screen and keyboard of a node's console.

use std::io::{IsTerminal, Read};

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::{bytes, talk};
use crate::model::{Shown, Stream};

/// What a guest may have left switched on: the alternate screen, a scroll region, colours, another character set, a
/// hidden cursor, mouse reports, bracketed paste, application keys.
const RESET: &[u8] = b"\x1b[?1049l\x1b7\x1b[r\x1b8\x1b[0m\x1b(B\x0f\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b>";

/// A terminal that passes on every key. Dropping it restores the terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// None where stdin is no terminal, and is left alone.
    before: Option<Termios>,
}

impl Terminal {
    /// Switches the terminal to raw mode and says how to leave, if stdin is one.
    ///
    /// # Errors
    /// Fails if the terminal does not obey.
    pub(crate) fn raw(how: &str) -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { before: None });
        }
        let context = "the terminal cannot be switched to raw mode";
        let before = tcgetattr(&stdin).context(context)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context(context)?;
        // Only now, since keys that are typed before would be signals. A raw terminal needs the carriage return.
        talk(&format!("{how}\r"));
        Ok(Self {
            before: Some(before),
        })
    }

    /// Whether stdin is a terminal.
    pub(crate) const fn is_one(&self) -> bool {
        self.before.is_some()
    }

    /// Rows and columns; none without a terminal or if it does not know them.
    pub(crate) fn size(&self) -> Option<(u16, u16)> {
        self.before.as_ref()?;
        let size = tcgetwinsize(std::io::stdin()).ok()?;
        (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
    }

    /// Shows output or a notice. Returns false when nobody reads it any more.
    pub(crate) fn show(&self, shown: &Shown) -> bool {
        match shown {
            Shown::Bytes(output) => bytes(Stream::Out, output),
            Shown::Notice(text) => {
                // A raw terminal needs the carriage return.
                let (begin, end) = if self.is_one() {
                    ("\r\n", "\r")
                } else {
                    ("", "")
                };
                talk(&format!("{begin}[{text}]{end}"));
                true
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            bytes(Stream::Out, RESET);
            let _gone = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
            talk("");
        }
    }
}

/// What is typed, or piped into stdin. A thread reads it, since nothing else ends a wait for a key when kvmc ends.
pub(crate) fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        while let Ok(n @ 1..) = stdin.read(&mut buffer) {
            let keys = buffer.get(..n).unwrap_or_default().to_vec();
            if sender.blocking_send(keys).is_err() {
                return;
            }
        }
    });
    receiver
}

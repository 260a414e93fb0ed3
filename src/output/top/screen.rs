//! The terminal as a full screen.

use std::io::{IsTerminal, Stdout, Write, stdout};
use std::sync::Once;

use anyhow::{Context, Result};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::draw::draw;
use super::state::Top;
use crate::model::Stream;
use crate::output::drawn::set_drawn;
use crate::output::is_colored;

/// A full screen. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub(crate) struct FullScreen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl FullScreen {
    /// Whether there is a terminal to draw on and to type at.
    pub(crate) fn is_possible() -> bool {
        stdout().is_terminal() && std::io::stdin().is_terminal()
    }

    /// Takes the whole terminal.
    ///
    /// # Errors
    /// Fails if the terminal does not obey.
    pub(crate) fn open() -> Result<Self> {
        let context = "the terminal cannot be switched to a full screen";
        restore_at_panic();
        enable_raw_mode().context(context)?;
        let opened = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        if opened.is_err() {
            restore();
        }
        let terminal = opened.context(context)?;
        set_drawn(true);
        Ok(Self { terminal })
    }

    /// Draws what is to be shown.
    ///
    /// # Errors
    /// Fails if the terminal is gone.
    pub(crate) fn draw(&mut self, top: &mut Top) -> Result<()> {
        let is_colored = is_colored(Stream::Out);
        let drawn = self.terminal.draw(|frame| draw(frame, top, is_colored));
        drawn.context("the terminal cannot be drawn on").map(drop)
    }

    /// Draws everything anew, such as after another program has written to the terminal.
    pub(crate) fn forget(&mut self) {
        let _drawn_next_time = self.terminal.clear();
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back. It may be gone.
fn restore() {
    let _gone = execute!(stdout(), LeaveAlternateScreen, Show);
    let _gone = disable_raw_mode();
    let _gone = stdout().flush();
    set_drawn(false);
}

/// Lets a panic give the terminal back before it prints its message, which the other screen would swallow.
fn restore_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            print(panic);
        }));
    });
}

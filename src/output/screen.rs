//! Text that is shown again and again: on a terminal in place, elsewhere as blocks.

use std::io::IsTerminal;

use super::drawn::set_drawn;
use super::stream;

/// Lines of a terminal whose size is unknown.
const LINES: u16 = 24;

/// Where the text is shown.
#[derive(Debug)]
pub(crate) struct Screen {
    is_terminal: bool,
    is_first: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        set_drawn(is_terminal);
        Self {
            is_terminal,
            is_first: true,
        }
    }

    /// Shows a text instead of the one before. Returns whether somebody still reads.
    pub(crate) fn show(&mut self, text: &str) -> bool {
        let is_first = std::mem::take(&mut self.is_first);
        if self.is_terminal {
            let lines = terminal_size::terminal_size().map_or(LINES, |(_, height)| height.0);
            stream(&frame(text, is_first, usize::from(lines)))
        } else {
            let between = if is_first { "" } else { "\n" };
            stream(&format!("{between}{text}"))
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        set_drawn(false);
    }
}

/// One frame, by sequences of ECMA-48 that every terminal knows: home, each line with the rest of its row cleared,
/// then everything below cleared. Lines are cut at the terminal's width, and the frame at its height, so that it does not
/// scroll.
fn frame(text: &str, is_first: bool, height: usize) -> String {
    let clear = if is_first { "\x1b[2J" } else { "" };
    let lines: Vec<_> = text.lines().take(height.saturating_sub(1)).collect();
    let lines = lines.iter().map(|l| format!("{l}\x1b[K\n"));
    format!(
        "{clear}\x1b[H\x1b[?7l{}\x1b[?7h\x1b[J",
        lines.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_overwrites_the_one_before_and_does_not_scroll() {
        assert_eq!(
            frame("a\nb\n", true, 9),
            "\x1b[2J\x1b[H\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[?7h\x1b[J"
        );
        assert_eq!(
            frame("a\nb\nc\n", false, 3),
            "\x1b[H\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[?7h\x1b[J"
        );
        assert_eq!(frame("a\n", false, 0), "\x1b[H\x1b[?7l\x1b[?7h\x1b[J");
    }
}

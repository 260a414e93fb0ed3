//! Whether a screen is drawn on the terminal, so that nothing else is written over it.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// From now on a screen is drawn on the terminal, or none is.
pub(super) fn set_drawn(is_drawn: bool) {
    IS_DRAWN.store(is_drawn, Ordering::Relaxed);
}

/// Whether a line on stderr would stand in the middle of a drawn screen.
pub(super) fn is_in_the_way() -> bool {
    IS_DRAWN.load(Ordering::Relaxed) && std::io::stderr().is_terminal()
}

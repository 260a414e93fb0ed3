//! Ctrl-C, SIGTERM and a closed terminal, heard between steps: none is left half-way.
//!
//! The first asks: the verb undoes or leaves what the next one completes, and says which. The second ends
//! this process at once, whatever it is at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a verb that was interrupted, as shells have it for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Whether this run was told to stop.
#[derive(Debug)]
pub(crate) struct Interrupt {
    sigint: Signal,
    sigterm: Signal,
    /// Set by the signal itself, for work that cannot wait for it.
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// From here on the first of these signals does not end this process by itself, and the end of the
    /// terminal (SIGHUP) does not matter.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn listen() -> Result<Self> {
        let context = "failed to watch for signals";
        let flag = Arc::new(AtomicBool::new(false));
        for number in [nix::libc::SIGINT, nix::libc::SIGTERM] {
            // In this order: the first signal finds the flag unset.
            signal_hook::flag::register_conditional_shutdown(
                number,
                INTERRUPTED.into(),
                Arc::clone(&flag),
            )
            .context(context)?;
            signal_hook::flag::register(number, Arc::clone(&flag)).context(context)?;
        }
        // Heard and dropped, not ignored: what this process starts must not inherit that.
        signal_hook::flag::register(nix::libc::SIGHUP, Arc::new(AtomicBool::new(false)))
            .context(context)?;
        kvmc_images::heed(Arc::clone(&flag));
        let listen = |kind| signal(kind).context(context);
        Ok(Self {
            sigint: listen(SignalKind::interrupt())?,
            sigterm: listen(SignalKind::terminate())?,
            flag,
        })
    }

    /// Whether one has come, for who cannot wait.
    pub(crate) fn came(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Waits until one has come.
    pub(crate) async fn wait(&mut self) {
        if !self.came() {
            tokio::select! {
                _ = self.sigint.recv() => {}
                _ = self.sigterm.recv() => {}
            }
        }
    }

    /// Whether one has come.
    pub(crate) async fn has_come(&mut self) -> bool {
        // Between two steps, so that others get their turn too.
        tokio::task::yield_now().await;
        self.came()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal::SIGHUP, Signal::SIGTERM, raise};

    #[tokio::test]
    async fn a_signal_that_came_during_a_step_is_heard_after_it() {
        let mut interrupt = Interrupt::listen().unwrap();
        raise(SIGHUP).unwrap();
        assert!(!interrupt.has_come().await, "a closed terminal is no wish");
        raise(SIGTERM).unwrap();
        assert!(interrupt.has_come().await);
        assert!(interrupt.has_come().await, "it stays so");
        interrupt.wait().await;
    }
}

//! Ctrl-C and SIGTERM, heard between steps: none is left half-way.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether this run was told to stop.
#[derive(Debug)]
pub(crate) struct Interrupt {
    sigint: Signal,
    sigterm: Signal,
    came: bool,
}

impl Interrupt {
    /// From here on neither signal ends this process by itself.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("failed to watch for signals");
        Ok(Self {
            sigint: listen(SignalKind::interrupt())?,
            sigterm: listen(SignalKind::terminate())?,
            came: false,
        })
    }

    /// Waits until one has come.
    pub(crate) async fn wait(&mut self) {
        if !self.came {
            tokio::select! {
                _ = self.sigint.recv() => {}
                _ = self.sigterm.recv() => {}
            }
            self.came = true;
        }
    }

    /// Whether one has come.
    pub(crate) async fn has_come(&mut self) -> bool {
        // The runtime hears of a signal when it looks, which it does while we yield.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = self.wait() => true,
            () = std::future::ready(()) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal::SIGTERM, raise};

    #[tokio::test]
    async fn a_signal_that_came_during_a_step_is_heard_after_it() {
        let mut interrupt = Interrupt::listen().unwrap();
        assert!(!interrupt.has_come().await);
        raise(SIGTERM).unwrap();
        assert!(interrupt.has_come().await);
        assert!(interrupt.has_come().await, "it stays so");
        interrupt.wait().await;
    }
}

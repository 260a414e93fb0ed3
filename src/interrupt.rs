//! Handles Ctrl-C, SIGTERM and a closed terminal between steps, so that no step is left half-done.
//!
//! At the first signal the verb undoes its work or leaves it for the next verb, and says which. The second signal ends
//! this process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of an interrupted verb, as in shells for SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Tells whether a signal has asked this run to end.
#[derive(Debug)]
pub(crate) struct Interrupt {
    sigint: Signal,
    sigterm: Signal,
    /// The signal handler sets this, for code that cannot await.
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on, the first of these signals does not end the process, and the end of the terminal (SIGHUP) is
    /// ignored.
    ///
    /// # Errors
    /// Fails if the signals cannot be watched.
    pub(crate) fn listen() -> Result<Self> {
        let context = "signals cannot be watched";
        let flag = Arc::new(AtomicBool::new(false));
        for number in [nix::libc::SIGINT, nix::libc::SIGTERM] {
            // The order matters: the first signal must find the flag unset.
            signal_hook::flag::register_conditional_shutdown(
                number,
                INTERRUPTED.into(),
                Arc::clone(&flag),
            )
            .context(context)?;
            signal_hook::flag::register(number, Arc::clone(&flag)).context(context)?;
        }
        // SIGHUP is handled and dropped. If it were ignored, child processes would inherit that.
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

    /// Whether a signal has come, for code that cannot await.
    pub(crate) fn came(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Waits for a signal.
    pub(crate) async fn wait(&mut self) {
        if !self.came() {
            tokio::select! {
                _ = self.sigint.recv() => {}
                _ = self.sigterm.recv() => {}
            }
        }
    }

    /// Whether a signal has come.
    pub(crate) async fn has_come(&mut self) -> bool {
        // This point lies between two steps, so let other tasks run too.
        tokio::task::yield_now().await;
        self.came()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal::SIGHUP, Signal::SIGTERM, raise};

    #[tokio::test]
    async fn a_signal_during_a_step_is_noticed_after_it() {
        let mut interrupt = Interrupt::listen().unwrap();
        raise(SIGHUP).unwrap();
        assert!(
            !interrupt.has_come().await,
            "a closed terminal does not interrupt"
        );
        raise(SIGTERM).unwrap();
        assert!(interrupt.has_come().await);
        assert!(interrupt.has_come().await, "it stays so");
        interrupt.wait().await;
    }
}

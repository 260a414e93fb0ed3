//! The deferred work of woken nodes, and when each may do it: not while other nodes are becoming ready.

use std::time::Duration;

use kvmc_images::agent::{AllReady, Request};
use kvmc_qmp::Client;
use tokio::sync::watch;

use crate::model::Accelerator;
use crate::model::{Board, Stage};

/// An emulated guest may take seconds to start its processors.
const ANSWER: Duration = Duration::from_secs(60);

/// Deferred work of clones: how long it waits at first, and how much time of one core it takes under emulation.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeferredWork {
    first: Duration,
    emulated: Duration,
}

/// Stopped programs resume and networkd asks for a lease. The time counts from when all nodes are ready.
pub(super) const RESUME: DeferredWork = DeferredWork {
    first: Duration::from_secs(2),
    emulated: Duration::from_millis(300),
};
/// The journal starts with the clone's own ids. The time counts from [`RESUME`].
pub(super) const JOURNAL: DeferredWork = DeferredWork {
    first: Duration::from_secs(8),
    emulated: Duration::from_millis(500),
};

impl DeferredWork {
    /// When a clone does the work. Emulated clones take turns, because all at once they would take the host's cores
    /// from the first thing the user does with the cluster.
    pub(super) fn turn(self, position: usize, accelerator: &Accelerator, cores: u32) -> Duration {
        if accelerator.is_kvm() {
            return self.first;
        }
        let before = u32::try_from(position).unwrap_or(u32::MAX);
        self.first + self.emulated.saturating_mul(before) / cores.max(1)
    }
}

/// Tells a woken guest when all nodes are ready. Until then some of its processors are off and some programs stopped,
/// so that they take no cores from nodes that are becoming ready. If the message takes long, the guest resumes by
/// itself.
pub(super) async fn tell_all_ready(board: watch::Receiver<Board>, agent: Client, rest: Duration) {
    if all_ready(board).await {
        let rest = rest.as_secs_f64();
        let arguments = AllReady { rest }.arguments();
        let _gone_or_too_old = agent.request(AllReady::NAME, arguments, ANSWER).await;
    }
}

/// Waits until no node is becoming ready. Returns false if the board will not change any more.
pub(super) async fn all_ready(mut board: watch::Receiver<Board>) -> bool {
    let all = |board: &Board| board.values().all(|v| v.stage >= Stage::Ready);
    board.wait_for(all).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulated_clones_resume_one_after_the_other() {
        let emulated = Accelerator::Tcg {
            why: String::new(),
            said: String::new(),
        };
        assert_eq!(JOURNAL.turn(0, &emulated, 2), JOURNAL.first);
        assert_eq!(
            JOURNAL.turn(40, &emulated, 2),
            JOURNAL.first + 20 * JOURNAL.emulated
        );
        let kvm = &Accelerator::Kvm;
        assert_eq!(JOURNAL.turn(usize::MAX, kvm, 2), JOURNAL.first);
    }
}

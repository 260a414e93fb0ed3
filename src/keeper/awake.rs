//! What woken nodes still have to do, and when: not while others are on their way to ready.

use std::time::Duration;

use kvmc_images::agent::{AllReady, Request};
use kvmc_qmp::Client;
use tokio::sync::watch;

use crate::model::Accelerator;
use crate::model::{Board, Stage};

/// An emulated guest may take seconds to start its processors.
const ANSWER: Duration = Duration::from_secs(60);

/// What clones do once they are awake: first after so long, and each takes so much of a core where it is
/// emulated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chore {
    first: Duration,
    emulated: Duration,
}

/// What stood still goes on, and networkd asks for its lease; from when all nodes are ready.
pub(super) const GOING_ON: Chore = Chore {
    first: Duration::from_secs(2),
    emulated: Duration::from_millis(300),
};
/// The journal starts anew, with the ids that are its own by now; from when it goes on.
pub(super) const JOURNAL: Chore = Chore {
    first: Duration::from_secs(8),
    emulated: Duration::from_millis(500),
};

impl Chore {
    /// When a clone does it: one after the other, since all at once they would take a host's cores from the
    /// first that is done with the cluster.
    pub(super) fn turn(self, position: usize, accelerator: &Accelerator, cores: u32) -> Duration {
        if accelerator.is_kvm() {
            return self.first;
        }
        let before = u32::try_from(position).unwrap_or(u32::MAX);
        self.first + self.emulated.saturating_mul(before) / cores.max(1)
    }
}

/// A woken guest has processors switched off and programs that stand still: going on, they would take the host's cores
/// from nodes on their way to ready, so it hears when there are none. It does without that word where it takes long.
pub(super) async fn tell_all_ready(board: watch::Receiver<Board>, agent: Client, rest: Duration) {
    if all_ready(board).await {
        let rest = rest.as_secs_f64();
        let arguments = AllReady { rest }.arguments();
        let _gone_or_too_old = agent.request(AllReady::NAME, arguments, ANSWER).await;
    }
}

/// Waits until no node is on its way to ready; false when nobody writes on the board any more.
pub(super) async fn all_ready(mut board: watch::Receiver<Board>) -> bool {
    let all = |board: &Board| board.values().all(|v| v.stage >= Stage::Ready);
    board.wait_for(all).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulated_clones_go_on_one_after_the_other() {
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

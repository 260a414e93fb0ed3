//! The gate between the outside and the nodes for what the keeper relays. It cuts all connections off when the cluster goes
//! back to a snapshot, whose nodes know nothing of them, and lets no other pass until the nodes run again.

use tokio::sync::watch;

/// The state of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    is_open: bool,
    /// How often connections were cut off.
    cuts: u64,
}

/// The keeper's hold of the gate.
#[derive(Debug)]
pub(super) struct Gate(watch::Sender<State>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(State {
            is_open: true,
            cuts: 0,
        }))
    }
}

impl Gate {
    /// Cuts off what passes, and lets nothing more pass.
    pub(super) fn shut(&self) {
        self.0.send_modify(|state| {
            state.is_open = false;
            state.cuts = state.cuts.wrapping_add(1);
        });
    }

    /// Lets connections pass again.
    pub(super) fn open(&self) {
        self.0.send_modify(|state| state.is_open = true);
    }

    pub(super) fn way(&self) -> Way {
        Way(self.0.subscribe())
    }
}

/// The way through a gate, for one connection after the other.
#[derive(Debug, Clone)]
pub(super) struct Way(watch::Receiver<State>);

/// A connection's leave to pass, until the next cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass(u64);

impl Way {
    /// Waits until the gate is open. A gate that is gone lets nothing pass.
    pub(super) async fn pass(&mut self) -> Option<Pass> {
        let state = self.0.wait_for(|state| state.is_open).await.ok()?;
        Some(Pass(state.cuts))
    }

    /// The same without waiting.
    pub(super) fn pass_now(&self) -> Option<Pass> {
        let state = *self.0.borrow();
        state.is_open.then_some(Pass(state.cuts))
    }

    /// Waits until a connection is cut off. A gate that is gone cuts nothing off.
    pub(super) async fn cut(&mut self, Pass(cuts): Pass) {
        if self.0.wait_for(|state| state.cuts != cuts).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_cut_ends_what_passed_before_it_and_nothing_after() {
        let gate = Gate::default();
        let mut way = gate.way();
        let old = way.pass().await.unwrap();
        assert_eq!(way.pass_now(), Some(old));
        gate.shut();
        way.cut(old).await;
        assert_eq!(way.pass_now(), None);
        let waits = tokio::time::timeout(Duration::from_millis(20), way.pass());
        waits.await.unwrap_err();
        gate.open();
        // Also where nobody looked while it was shut.
        way.cut(old).await;
        let new = way.pass().await.unwrap();
        let stays = tokio::time::timeout(Duration::from_millis(20), way.cut(new));
        stays.await.unwrap_err();
        drop(gate);
        let stays = tokio::time::timeout(Duration::from_millis(20), way.cut(new));
        stays.await.unwrap_err();
    }
}

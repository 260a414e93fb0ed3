//! Decides how often and how soon a node that ended by itself is restarted. It does no I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts within [`WINDOW`] after which the keeper gives up. More would not cure a node that ends at each start.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(600);
/// Wait before the first restart. It doubles with each further restart within the window.
const FIRST: Duration = Duration::from_secs(1);

/// The past restarts of one node.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<Instant>);

/// What to do after a node has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Restart it after this time.
    Again(Duration),
    /// Give up; it has ended this often within ten minutes.
    GiveUp(usize),
}

impl Restarts {
    pub(super) fn ended(&mut self, now: Instant) -> Decision {
        while self
            .0
            .front()
            .is_some_and(|t| now.duration_since(*t) > WINDOW)
        {
            self.0.pop_front();
        }
        let before = self.0.len();
        if before >= MOST {
            return Decision::GiveUp(before);
        }
        self.0.push_back(now);
        let doublings = u32::try_from(before).unwrap_or(0);
        Decision::Again(FIRST * 2_u32.pow(doublings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_restart_waits_longer_until_the_keeper_gives_up() {
        let began = Instant::now();
        let at = |s: u64| began + Duration::from_secs(s);
        let mut restarts = Restarts::default();
        let waits: Vec<_> = (0..6).map(|i| restarts.ended(at(10 * i))).collect();
        let again = |s| Decision::Again(Duration::from_secs(s));
        assert_eq!(
            waits,
            [
                again(1),
                again(2),
                again(4),
                again(8),
                again(16),
                Decision::GiveUp(5)
            ]
        );
        assert_eq!(
            restarts.ended(at(5000)),
            again(1),
            "ends long ago do not count"
        );
    }
}

//! How often and how soon a node that ends by itself is started again. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Restarts within [`WINDOW`] before it is given up: what ends each time it starts is not cured by starts.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(600);
/// Before the first; each further one within the window waits twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// The restarts of one node.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<Instant>);

/// What is to be done about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this long.
    Again(Duration),
    /// It has ended this often within ten minutes.
    GiveUp(usize),
}

impl Restarts {
    pub(super) fn ended(&mut self, now: Instant) -> Verdict {
        while self
            .0
            .front()
            .is_some_and(|t| now.duration_since(*t) > WINDOW)
        {
            self.0.pop_front();
        }
        let before = self.0.len();
        if before >= MOST {
            return Verdict::GiveUp(before);
        }
        self.0.push_back(now);
        let doublings = u32::try_from(before).unwrap_or(0);
        Verdict::Again(FIRST * 2_u32.pow(doublings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_and_are_given_up() {
        let began = Instant::now();
        let at = |s: u64| began + Duration::from_secs(s);
        let mut restarts = Restarts::default();
        let waits: Vec<_> = (0..6).map(|i| restarts.ended(at(10 * i))).collect();
        let again = |s| Verdict::Again(Duration::from_secs(s));
        assert_eq!(
            waits,
            [
                again(1),
                again(2),
                again(4),
                again(8),
                again(16),
                Verdict::GiveUp(5)
            ]
        );
        assert_eq!(
            restarts.ended(at(5000)),
            again(1),
            "what is long ago counts no more"
        );
    }
}

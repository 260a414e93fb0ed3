//! Answers of the host's resolvers, for as long as they say, within bounds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Settled;

/// All that is kept, with what keeping it takes.
const ROOM: usize = 512 << 10;
/// What an entry takes beside its bytes.
const OVERHEAD: usize = 160;
/// No single answer may push all others out.
const LARGEST: usize = 16 << 10;
/// An answer is asked for again after this, whatever it says: a VPN may have come meanwhile.
const LONGEST: u32 = 3600;
/// RFC 2308 section 5 has hours; a name that somebody just registered should not take those.
const LONGEST_ABSENCE: u32 = 300;

/// A question, in lower case, with what changes its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) question: Box<[u8]>,
    pub(super) dnssec: bool,
    pub(super) checking_disabled: bool,
}

#[derive(Debug)]
struct Kept {
    settled: Arc<Settled>,
    since: Instant,
    until: Instant,
    number: u64,
}

/// Bounded; the oldest goes first.
#[derive(Debug, Default)]
pub(super) struct Cache {
    kept: HashMap<Key, Kept>,
    order: VecDeque<(Key, u64)>,
    taken: usize,
    number: u64,
}

impl Cache {
    /// The answer, and the seconds that it was kept.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<(Arc<Settled>, u32)> {
        let kept = self.kept.get(key).filter(|k| now < k.until)?;
        let age = now.saturating_duration_since(kept.since).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        Some((Arc::clone(&kept.settled), age))
    }

    /// Keeps an answer for as long as it says.
    pub(super) fn put(&mut self, key: Key, settled: &Arc<Settled>, now: Instant) {
        let longest = if settled.is_absence() {
            LONGEST_ABSENCE
        } else {
            LONGEST
        };
        let seconds = settled.ttl().min(longest);
        let size = size(&key, settled);
        if seconds == 0 || size > LARGEST {
            return;
        }
        self.remove(&key);
        while self.taken + size > ROOM {
            let Some((oldest, number)) = self.order.pop_front() else {
                break;
            };
            if self.kept.get(&oldest).is_some_and(|k| k.number == number) {
                self.remove(&oldest);
            }
        }
        self.number += 1;
        self.taken += size;
        self.order.push_back((key.clone(), self.number));
        let kept = Kept {
            settled: Arc::clone(settled),
            since: now,
            until: now + Duration::from_secs(u64::from(seconds)),
            number: self.number,
        };
        self.kept.insert(key, kept);
        // Those that were replaced stand in the order still.
        if self.order.len() > 2 * self.kept.len() + 16 {
            let kept = &self.kept;
            let is_there = |k: &Key, n: u64| kept.get(k).is_some_and(|e| e.number == n);
            self.order.retain(|(key, number)| is_there(key, *number));
        }
    }

    /// Forgets everything: the resolvers are others.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.taken = self.taken.saturating_sub(size(key, &kept.settled));
        }
    }
}

fn size(key: &Key, settled: &Settled) -> usize {
    2 * key.question.len() + settled.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        Key {
            question: n.to_be_bytes().into(),
            dnssec: false,
            checking_disabled: false,
        }
    }

    #[test]
    fn what_is_kept_ends_with_its_time_and_stays_within_bounds() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let answer = Arc::new(Settled::for_test(1000, 60));
        for n in 0..5000 {
            cache.put(key(n), &answer, now);
            cache.put(key(4999), &answer, now);
        }
        assert!(cache.taken <= ROOM && cache.order.len() <= 2 * cache.kept.len() + 16);
        assert!(cache.get(&key(0), now).is_none(), "the oldest went");
        let later = now + Duration::from_secs(59);
        assert_eq!(cache.get(&key(4998), later).unwrap().1, 59);
        let end = now + Duration::from_secs(60);
        assert!(cache.get(&key(4998), end).is_none());
        cache.put(key(1), &Arc::new(Settled::for_test(1000, 0)), now);
        cache.put(key(2), &Arc::new(Settled::for_test(LARGEST, 60)), now);
        assert!(cache.get(&key(1), now).is_none() && cache.get(&key(2), now).is_none());
        cache.clear();
        assert_eq!(
            (cache.taken, cache.kept.len(), cache.order.len()),
            (0, 0, 0)
        );
    }
}

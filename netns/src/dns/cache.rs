//! Answers of the host's resolvers, cached for their TTL within bounds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::resolution::Resolution;

/// Most bytes of all entries, with their overhead.
const ROOM: usize = 512 << 10;
/// Overhead of an entry, in bytes.
const OVERHEAD: usize = 160;
/// Largest answer that is cached, in bytes: a single one must not push out all others.
const LARGEST: usize = 16 << 10;
/// Longest time of an answer, in seconds: the host's network may change, as by a VPN.
const LONGEST: u32 = 3600;
/// Longest time of a negative answer, in seconds. RFC 2308 section 5 allows hours; a new name should be found sooner.
const LONGEST_ABSENCE: u32 = 300;

/// A question in lower case, with the flags that its answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) question: Box<[u8]>,
    pub(super) dnssec: bool,
    pub(super) checking_disabled: bool,
}

#[derive(Debug)]
struct Entry {
    resolution: Arc<Resolution>,
    since: Instant,
    until: Instant,
    number: u64,
}

/// The cache; the oldest entry goes first.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    order: VecDeque<(Key, u64)>,
    taken: usize,
    number: u64,
}

impl Cache {
    /// The answer, and for how many seconds it has been cached.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<(Arc<Resolution>, u32)> {
        let entry = self.entries.get(key).filter(|e| now < e.until)?;
        let age = now.saturating_duration_since(entry.since).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        Some((Arc::clone(&entry.resolution), age))
    }

    /// Caches an answer for its TTL.
    pub(super) fn put(&mut self, key: Key, resolution: &Arc<Resolution>, now: Instant) {
        let longest = if resolution.is_absence() {
            LONGEST_ABSENCE
        } else {
            LONGEST
        };
        let seconds = resolution.ttl().min(longest);
        let size = size(&key, resolution);
        if seconds == 0 || size > LARGEST {
            return;
        }
        self.remove(&key);
        while self.taken + size > ROOM {
            let Some((oldest, number)) = self.order.pop_front() else {
                break;
            };
            if self
                .entries
                .get(&oldest)
                .is_some_and(|e| e.number == number)
            {
                self.remove(&oldest);
            }
        }
        self.number += 1;
        self.taken += size;
        self.order.push_back((key.clone(), self.number));
        let entry = Entry {
            resolution: Arc::clone(resolution),
            since: now,
            until: now + Duration::from_secs(u64::from(seconds)),
            number: self.number,
        };
        self.entries.insert(key, entry);
        // Replaced entries are still in the order.
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            let is_there = |k: &Key, n: u64| entries.get(k).is_some_and(|e| e.number == n);
            self.order.retain(|(key, number)| is_there(key, *number));
        }
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.taken = self.taken.saturating_sub(size(key, &entry.resolution));
        }
    }
}

fn size(key: &Key, resolution: &Resolution) -> usize {
    2 * key.question.len() + resolution.len() + OVERHEAD
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
    fn entries_end_with_their_ttl_and_stay_within_bounds() {
        let mut cache = Cache::default();
        let now = Instant::now();
        let answer = Arc::new(Resolution::for_test(1000, 60));
        for n in 0..5000 {
            cache.put(key(n), &answer, now);
            cache.put(key(4999), &answer, now);
        }
        assert!(cache.taken <= ROOM && cache.order.len() <= 2 * cache.entries.len() + 16);
        assert!(cache.get(&key(0), now).is_none(), "the oldest went");
        let later = now + Duration::from_secs(59);
        assert_eq!(cache.get(&key(4998), later).unwrap().1, 59);
        let end = now + Duration::from_secs(60);
        assert!(cache.get(&key(4998), end).is_none());
        cache.put(key(1), &Arc::new(Resolution::for_test(1000, 0)), now);
        cache.put(key(2), &Arc::new(Resolution::for_test(LARGEST, 60)), now);
        assert!(cache.get(&key(1), now).is_none() && cache.get(&key(2), now).is_none());
        cache.clear();
        assert_eq!(
            (cache.taken, cache.entries.len(), cache.order.len()),
            (0, 0, 0)
        );
    }
}

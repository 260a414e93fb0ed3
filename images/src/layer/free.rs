//! The free blocks of a file system, which still hold deleted data.

use std::ops::Range;

/// Free ranges of a disk, in bytes, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Free(Vec<Range<u64>>);

impl Free {
    /// Reads dumpe2fs(8)'s output, for a file system that begins at `offset`.
    pub(super) fn parse(text: &str, offset: u64) -> Option<Self> {
        let after = |key: &str| {
            text.lines()
                .find_map(|l| l.strip_prefix(key))
                .map(str::trim)
        };
        let size: u64 = after("Block size:")?.parse().ok()?;
        let mut ranges = Vec::new();
        for line in text.lines() {
            let Some(list) = line.trim_start().strip_prefix("Free blocks: ") else {
                continue;
            };
            // The line with the number of free blocks has the same name, and is not indented.
            if !line.starts_with(' ') {
                continue;
            }
            for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let [first, last] = [first, last].map(|n| n.parse::<u64>().ok());
                let start = first?.checked_mul(size)?.checked_add(offset)?;
                let end = last?
                    .checked_add(1)?
                    .checked_mul(size)?
                    .checked_add(offset)?;
                ranges.push(start..end);
            }
        }
        ranges.sort_by_key(|r| r.start);
        Some(Self(ranges))
    }

    /// Zeros the free ranges in the bytes at offset `at`.
    pub(super) fn clear(&self, at: u64, bytes: &mut [u8]) {
        let end = at + bytes.len() as u64;
        let from = self.0.partition_point(|r| r.end <= at);
        for range in self.0.get(from..).unwrap_or_default() {
            if range.start >= end {
                return;
            }
            let [first, last] = [range.start.max(at), range.end.min(end)]
                .map(|n| usize::try_from(n - at).unwrap_or(usize::MAX));
            bytes.get_mut(first..last).unwrap_or_default().fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_of_all_groups_are_read() {
        let text = "Block count:              300\nFree blocks:              120\nBlock size:               1024\n\
            Group 0: (Blocks 1-100)\n  Free blocks: 3-4, 7\nGroup 1: (Blocks 101-200)\n  Free blocks: \nGroup 2:\n  Free blocks: 250-299\n";
        let free = Free::parse(text, 1 << 20).unwrap();
        let at = |b: u64| (1 << 20) + b * 1024;
        assert_eq!(free.0, [at(3)..at(5), at(7)..at(8), at(250)..at(300)]);
        let mut bytes = vec![1; 4096];
        free.clear(at(4), &mut bytes);
        let zero: Vec<_> = bytes
            .chunks(1024)
            .map(|c| c.iter().all(|b| *b == 0))
            .collect();
        assert_eq!(zero, [true, false, false, true]);
        assert_eq!(Free::parse("nothing", 0), None);
        assert_eq!(
            Free::parse("Block size: 4096\n  Free blocks: 1-x\n", 0),
            None
        );
    }
}

//! A mutating driver for parsers, in-process and on the stable toolchain.
//!
//! Each target has a folder of inputs in `corpus/`. A run replays all of them, and then mutates them for a
//! while. An input with a new outcome becomes a parent of others, which leads to each case that a parser
//! tells apart. The driver writes an input that makes a parser panic to the corpus, so that later runs replay
//! it.
//!
//! `KVMC_FUZZ_SECONDS` sets the length of a run; the default is half a second a target. `KVMC_FUZZ_SEED`
//! selects other mutations.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "for tests only"
)]

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Runs between two looks at the clock.
const BATCH: u32 = 64;
/// Longest input that mutation makes, in bytes.
const LONGEST: usize = 64 << 10;
/// Most inputs that are parents.
const MOST_PARENTS: usize = 4096;
/// Values that break parsers of numbers and lengths.
const NUMBERS: [&[u8]; 10] = [
    b"0",
    b"-1",
    b"1e999",
    b"65536",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00\x00\x00\x00\x01",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
];
const WORDS: [&[u8]; 12] = [
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"\n",
    b"\x00",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b",",
    b"..",
    b"/",
];

/// Replays the corpus of `target` and mutates it. `drive` gives an input to the parser and returns a text
/// for the outcome. Digits in that text do not count.
///
/// # Panics
/// An input makes `drive` panic; the message names the file that holds it.
pub fn run(target: &str, mut drive: impl FnMut(&[u8]) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut parents = corpus(&folder);
    assert!(!parents.is_empty(), "no corpus in {}", folder.display());
    let mut outcomes = BTreeSet::new();
    for (path, input) in &parents {
        let result = catch_unwind(AssertUnwindSafe(|| drive(input)));
        let outcome = result.unwrap_or_else(|_| panic!("{target} panics on {}", path.display()));
        outcomes.insert(without_digits(&outcome));
    }
    let replayed = parents.len();
    let mut random = Random(number("KVMC_FUZZ_SEED").unwrap_or(0x9e37_79b9_7f4a_7c15) | 1);
    let time = number("KVMC_FUZZ_SECONDS").map_or(Duration::from_millis(500), Duration::from_secs);
    let until = Instant::now() + time;
    let mut runs = 0_u64;
    while Instant::now() < until {
        for _ in 0..BATCH {
            let input = mutate(&parents, &mut random);
            let result = catch_unwind(AssertUnwindSafe(|| drive(&input)));
            let Ok(outcome) = result else {
                let path = folder.join(format!("panic-{:016x}", hash(&input)));
                std::fs::write(&path, &input).unwrap();
                panic!("{target} panics on {}", path.display());
            };
            runs += 1;
            if parents.len() < MOST_PARENTS && outcomes.insert(without_digits(&outcome)) {
                parents.push((PathBuf::new(), input));
            }
        }
    }
    println!(
        "{target}: {replayed} replayed, {runs} mutated, {} outcomes",
        outcomes.len()
    );
}

fn corpus(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut all: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn without_digits(outcome: &str) -> String {
    outcome
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(200)
        .collect()
}

fn hash(bytes: &[u8]) -> u64 {
    // FNV-1a
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The xorshift64 generator: the same seed gives the same inputs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

fn mutate(parents: &[(PathBuf, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut input = random.of(parents).1.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = (at + 1 + random.below(16)).min(input.len());
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => drop(input.splice(at..end.max(at), random.of(&NUMBERS).iter().copied())),
            2 => drop(input.splice(at..at, random.of(&WORDS).iter().copied())),
            3 => drop(input.drain(at..end.max(at))),
            4 => input.truncate(at),
            5 => {
                let part = input[at..end.max(at)].to_vec();
                for _ in 0..=random.below(40) {
                    input.splice(at..at, part.iter().copied());
                }
            }
            6 => {
                let other = &random.of(parents).1;
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => number_in(&mut input, random),
        }
    }
    input.truncate(LONGEST);
    input
}

/// Replaces a number by another one.
fn number_in(input: &mut Vec<u8>, random: &mut Random) {
    let starts: Vec<_> = (0..input.len())
        .filter(|i| input[*i].is_ascii_digit())
        .collect();
    if starts.is_empty() {
        return;
    }
    let from = *random.of(&starts);
    let length = input[from..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    input.splice(from..from + length, random.of(&NUMBERS).iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_inputs_and_they_differ_from_each_other() {
        let parents = [(PathBuf::new(), b"{\"a\": 1}".to_vec())];
        let inputs = |seed| -> Vec<_> {
            let mut random = Random(seed);
            (0..200).map(|_| mutate(&parents, &mut random)).collect()
        };
        assert_eq!(inputs(7), inputs(7));
        let different: BTreeSet<_> = inputs(7).into_iter().collect();
        assert!(different.len() > 100, "{}", different.len());
    }
}

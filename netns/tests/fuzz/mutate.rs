//! Makes inputs from a corpus. The same seed gives the same inputs.

use std::path::Path;

/// Bytes at the boundaries of parsers' cases.
const EDGES: [u8; 12] = [0, 1, 2, 4, 6, 17, 50, 53, 61, 128, 254, 255];

/// The number of inputs: few enough for every build, unless `KVMC_FUZZ_INPUTS` sets another.
pub(crate) fn inputs() -> u64 {
    number("KVMC_FUZZ_INPUTS").unwrap_or(50_000)
}

pub(crate) fn seed() -> u64 {
    number("KVMC_FUZZ_SEED").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// All files of one folder of the corpus, sorted by name.
pub(crate) fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(folder);
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
}

/// The splitmix64 generator.
#[derive(Debug)]
pub(crate) struct Mutator(u64);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        if self.below(2) == 0 {
            EDGES[self.below(EDGES.len())]
        } else {
            self.next().to_le_bytes()[0]
        }
    }

    /// An input of the corpus, changed in up to five places.
    pub(crate) fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..self.below(6) {
            if bytes.is_empty() {
                bytes.push(self.byte());
            }
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte()),
                2 => {
                    bytes.remove(at);
                }
                3 => bytes[at] ^= 1 << self.below(8),
                4 => {
                    // Inserts a piece of another input: options of one client in the packet of the next.
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len().max(1)).min(other.len());
                    let length = self.below(40).min(other.len() - from);
                    bytes.splice(at..at, other[from..from + length].iter().copied());
                }
                5 => {
                    // Inserts a run of one byte, like padding or an option that fills everything.
                    let (byte, length) = (self.byte(), self.below(300));
                    bytes.splice(at..at, std::iter::repeat_n(byte, length));
                }
                6 => {
                    // Repeats a piece, a little earlier.
                    let end = (at + self.below(8)).min(bytes.len());
                    bytes.copy_within(at..end, at.saturating_sub(end - at));
                }
                _ => bytes[at] = self.byte(),
            }
        }
        bytes.truncate(2048);
        bytes
    }
}

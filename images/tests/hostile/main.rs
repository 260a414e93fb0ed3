//! Gives kvmc images that were made to harm, by the ways in which a user would. Each has its own error, in little time and
//! memory: of this process, which reads headers and file systems by itself, and of the programs that it starts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "test support is test code too"
)]

mod archives;
mod bench;
mod chains;
mod disks;
mod headers;
mod packed;

use std::collections::BTreeMap;

use bench::{Bench, Case};

/// The bounds for each image.
const MOST_MEMORY: u64 = 256 << 20;
const MOST_SECONDS: f64 = 10.0;

#[test]
fn p43_hostile_images_have_errors_of_their_own_in_little_time_and_memory() {
    let bench = Bench::new();
    let mut cases: Vec<Case> = Vec::new();
    cases.extend(headers::cases());
    cases.extend(packed::cases());
    cases.extend(archives::cases());
    cases.extend(disks::cases());
    cases.extend(chains::cases());
    assert!(cases.len() >= 20);
    let mut said: BTreeMap<String, &str> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let stored = bench.stored();
        let tried = bench.try_case(case);
        println!(
            "{:34} {:5.1} s {:4}M {:4}M  {}",
            case.name,
            tried.seconds,
            tried.own >> 20,
            tried.programs >> 20,
            tried.error
        );
        let mut fault = |what: String| wrong.push(format!("{}: {what}", case.name));
        if !tried.error.contains(case.words) {
            fault(format!("expected `{}`: {}", case.words, tried.error));
        }
        if tried.error.contains("os error") || tried.error.contains("panicked") {
            fault(format!("no words for a person: {}", tried.error));
        }
        if tried.seconds > MOST_SECONDS {
            fault(format!("took {} s", tried.seconds));
        }
        if tried.own > MOST_MEMORY || tried.programs > MOST_MEMORY {
            fault(format!("took {} and {} bytes", tried.own, tried.programs));
        }
        if bench.stored() != stored {
            fault("is in the store".to_owned());
        }
        if let Some(other) = said.insert(tried.error.clone(), case.name) {
            fault(format!("says the same as {other}: {}", tried.error));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

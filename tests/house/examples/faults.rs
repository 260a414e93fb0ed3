//! Prints the faults of the sources in the given folders: `cargo run -p kvmc-house --example faults src`.

use std::io::Write as _;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for folder in std::env::args().skip(1) {
        for fault in kvmc_house::faults(Path::new(&folder)) {
            writeln!(out, "{folder}: {fault}")?;
        }
    }
    Ok(())
}

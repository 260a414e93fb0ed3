//! Real Debian guests of the other architecture, emulated. Their template takes many minutes to build, so run
//! the test by name, with a state folder that has one.

use std::path::Path;

use super::support::{Bench, script};

#[test]
#[ignore = "needs KVMC_FOREIGN_STATE, a state folder with a template of the other architecture"]
fn an_emulated_cluster_boots_wakes_keeps_time_and_shares_nothing() {
    let state = std::env::var("KVMC_FOREIGN_STATE").unwrap();
    let images = Path::new(&state).join("images");
    assert!(images.is_dir(), "{} is no folder", images.display());
    let bench = Bench::new();
    bench.take_images(&images);
    bench.runs(&script("guests/emulated.sh", &[]));
}

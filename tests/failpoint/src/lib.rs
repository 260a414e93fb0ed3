//! Failpoints: a place after each side effect where a test can make a verb fail, wait, or be killed.
//!
//! A crate has them with its feature `failpoints` alone. The environment variable `FAILPOINTS` says what happens where:
//! `up.bridge=return(error)`, `=return(kill)`, `=sleep(2000)`.

use std::io::{Error, Result, Write};

pub use fail::FailScenario as Scenario;

/// Does what the environment wants done at the failpoint `name`, which `known` must list.
///
/// # Errors
/// That the failpoint is to fail, or is not listed.
pub fn reached(known: &[&str], name: &'static str) -> Result<()> {
    if !known.contains(&name) {
        return Err(Error::other(format!("the failpoint {name} is not listed")));
    }
    // A test reads there which failpoints were reached, and when.
    if let Some(path) = std::env::var_os("KVMC_FAILPOINTS_REACHED") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let _unseen = file.and_then(|mut f| f.write_all(format!("{name}\n").as_bytes()));
    }
    fail::fail_point!(name, |how| {
        if how.as_deref() == Some("kill") {
            let _never_back = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        }
        Err(Error::other(format!("failpoint {name}")))
    });
    Ok(())
}

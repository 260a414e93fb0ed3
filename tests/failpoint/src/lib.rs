//! Failpoints: a place after each side effect where a test can make a verb fail, wait, or be killed.
//!
//! A crate has them only with its feature `failpoints`. The environment variable `FAILPOINTS` sets their actions:
//! `up.bridge=return(error)`, `=return(kill)`, `=sleep(2000)`.

use std::io::{Error, Result, Write};

pub use fail::FailScenario as Scenario;

/// Carries out the action of the environment for the failpoint `name`, which `known` must list.
///
/// # Errors
/// The environment makes the failpoint fail, or `known` does not list it.
pub fn reached(known: &[&str], name: &'static str) -> Result<()> {
    if !known.contains(&name) {
        return Err(Error::other(format!("the failpoint {name} is not listed")));
    }
    // A test reads the reached failpoints and their times from this file.
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

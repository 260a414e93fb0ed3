//! The number of descriptors that this process may open.

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::hint::bail_with_hint;

/// Descriptors that the smallest verb needs: tokio's, the standard streams, netlink sockets, a lock and a log.
const LEAST: u64 = 64;
/// Enough for the sockets of a thousand nodes.
const WANTED: u64 = 16384;

/// Raises the soft limit of descriptors as far as it is allowed and useful.
///
/// # Errors
/// Fails if the limit is too low for any verb.
pub(crate) fn check_descriptors() -> Result<()> {
    let (soft, hard) =
        getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of descriptors")?;
    if hard < LEAST {
        bail_with_hint!(
            format!("`ulimit -n {WANTED}` in a shell of root raises the limit"),
            "this process may open only {hard} descriptors; kvmc needs at least {LEAST}"
        );
    }
    let wanted = hard.min(WANTED);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
            .context("cannot raise the limit of descriptors")?;
    }
    Ok(())
}

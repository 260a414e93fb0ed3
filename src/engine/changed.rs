//! Verbs that begin with reading a cluster's record, and find it changed by another verb.

use anyhow::Result;

use crate::hint::find;

/// Another verb has changed the cluster since this one read its record.
#[derive(Debug, thiserror::Error)]
#[error("another verb has changed cluster `{0}` meanwhile")]
pub(super) struct Changed(pub(super) String);

/// Does work that begins with reading the record, again where another verb has changed it meanwhile.
///
/// # Errors
/// Fails if the work fails.
pub(crate) async fn until_unchanged<T>(work: impl AsyncFn() -> Result<T>) -> Result<T> {
    const TRIES: u32 = 5;
    for _ in 1..TRIES {
        match work().await {
            Err(error) if find::<Changed>(&error).is_some() => {}
            done => return done,
        }
    }
    work().await
}

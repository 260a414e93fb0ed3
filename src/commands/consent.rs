//! Asks before a verb removes nodes with their data.

use anyhow::{Result, bail};

use crate::engine::Consent;
use crate::hint::find;
use crate::model::{RemovesNodes, spoils};
use crate::output;

/// Runs a verb. If it would remove nodes, asks at a terminal, and runs it again once the user has agreed.
///
/// # Errors
/// Fails if the verb fails, and if nobody agrees.
pub(super) async fn with_consent<T>(
    yes: bool,
    verb: impl AsyncFn(Consent) -> Result<T>,
) -> Result<T> {
    if yes {
        return verb(Consent::All).await;
    }
    let error = match verb(Consent::None).await {
        Ok(done) => return Ok(done),
        Err(error) => error,
    };
    let Some(RemovesNodes { nodes, snapshots }) = find::<RemovesNodes>(&error) else {
        return Err(error);
    };
    let nodes = nodes.clone();
    let also = spoils(snapshots, "; ");
    let question = format!("remove {} with all data{also}?", nodes.join(", "));
    match output::confirm(&question) {
        Some(true) => verb(Consent::Nodes(nodes)).await,
        Some(false) => bail!("nothing was removed; the cluster is unchanged"),
        None => Err(error),
    }
}

//! The removal of a fork's way out.

use anyhow::{Error, Result};
use kvmc_netns::firewall;
use kvmc_netns::outside::{outside, run_outside};

use super::look::open_outside;
use crate::failpoint::failpoint;
use crate::network::{accepts, naming};
use crate::state::ClusterDir;

/// Removes the way out, also of a fork whose record is lost. Continues past errors and returns them.
pub(crate) async fn remove(dir: &ClusterDir) -> Vec<Error> {
    if outside().is_none() {
        return Vec::new();
    }
    let removed = async {
        let errors = remove_rules(dir)?;
        failpoint!("fork.gone.rules");
        let (links, link) = (open_outside()?, naming::outlet(dir));
        // Another program may have taken the name.
        let there = links.find(&link).await?;
        if there.is_some_and(|l| l.alias.as_deref() == Some(&dir.mark())) {
            links.delete(&link).await?;
        }
        failpoint!("fork.gone.link");
        anyhow::Ok(errors)
    };
    match removed.await {
        Ok(errors) => errors,
        Err(error) => vec![Error::context(error, "cannot remove the fork's way out")],
    }
}

/// Removes the rules outside. Continues past errors and returns them.
///
/// # Errors
/// Fails if no thread can be there.
pub(super) fn remove_rules(dir: &ClusterDir) -> Result<Vec<Error>> {
    let (name, of) = (naming::table(&naming::outlet(dir)), dir.clone());
    Ok(run_outside(move || {
        let table = firewall::Table::remove_named(&name);
        let mut errors = accepts::remove(&of);
        errors.extend(table.err().map(Error::from));
        errors
    })?)
}

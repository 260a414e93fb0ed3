//! Removes a bridge that was found by its mark, and its rules.

use kvmc_netns::{Links, firewall};

use super::naming::table;

/// Removes a bridge that was found by its mark, and its rules. Continues past errors and returns them.
pub(crate) async fn remove_found(bridge: &str, links: &Links) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    let rules = firewall::Table::remove_named(&table(bridge));
    errors.extend(rules.err().map(Into::into));
    errors.extend(links.delete(bridge).await.err().map(Into::into));
    errors
}

//! All of a cluster's networks, removed in the order that leaves nothing behind.

use kvmc_netns::{Links, firewall};

use super::naming::table;
use super::{bridge, names, rules};
use crate::state::ClusterRecord;

/// Takes the network away; what is gone already is done. Goes on past errors and returns them.
pub(crate) async fn remove(record: &ClusterRecord, links: &Links) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    errors.extend(names::remove(&record.network).err());
    for network in record.networks() {
        match links.find(&network.bridge).await {
            // Somebody else has taken the name since this cluster was stopped, and the rules are theirs.
            Ok(Some(link)) if link.mac != Some(network.mac) => continue,
            Ok(_) => {}
            Err(e) => errors.push(e.into()),
        }
        if let Err(e) = rules::remove(&rules::table(record, network)) {
            errors.push(e);
        }
        if let Err(e) = bridge::remove(network, links).await {
            errors.push(e.context(format!("failed to remove the bridge {}", network.bridge)));
        }
    }
    errors
}

/// Removes a bridge that was found by its mark, and its rules. Goes on past errors and returns them.
pub(crate) async fn remove_found(bridge: &str, links: &Links) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    let rules = firewall::Table::remove_named(&table(bridge));
    errors.extend(rules.err().map(Into::into));
    errors.extend(links.delete(bridge).await.err().map(Into::into));
    errors
}

//! What `status` compares with what the keeper saw, so that it need not run nft while nothing has changed.

use anyhow::{Context, Result};
use kvmc_netns::Links;
use kvmc_netns::firewall::generation;
use serde::{Deserialize, Serialize};

use super::rules;
use super::state::{Glance, NetworkState, bridges, glance};
use crate::state::ClusterRecord;

/// Marks of all rules and settings that a cluster's packets meet, and of the rules that it wants. Two that are equal have the
/// same [`NetworkState`] but for bridges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RulesMark {
    /// Of nftables, which includes iptables-nft and firewalld.
    generation: u32,
    glance: Glance,
    /// Digests of the wanted tables.
    tables: Vec<String>,
}

impl RulesMark {
    /// Reads the marks. What the caller reads afterwards is of these marks, or the marks change.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub(crate) async fn read(record: &ClusterRecord, links: &Links) -> Result<Self> {
        let wanted = record.networks().map(|n| rules::table(record, n).digest());
        Ok(Self {
            tables: wanted.collect(),
            generation: generation().context("cannot read the generation of nftables' rules")?,
            glance: glance(links).await?,
        })
    }
}

impl NetworkState {
    /// Whether rules and settings are as the cluster wants them, and nothing blocks it.
    pub(crate) fn is_in_order(&self) -> bool {
        self.missing().is_empty() && self.obstacles.is_empty()
    }

    /// The state whose rules and settings are in order, with the bridges that are there.
    ///
    /// # Errors
    /// Fails if the links cannot be read.
    pub(crate) async fn in_order(record: &ClusterRecord, links: &Links) -> Result<Self> {
        Ok(Self {
            forwarding: true,
            forwarding6: true,
            bridges: bridges(record, links).await?,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_that_lacks_nothing_is_in_order() {
        let state = NetworkState {
            forwarding: true,
            forwarding6: true,
            ..NetworkState::default()
        };
        assert!(state.is_in_order());
        let lost = NetworkState {
            lost_tables: vec!["kvmc_k80".to_owned()],
            ..state.clone()
        };
        let off = NetworkState {
            forwarding: false,
            ..state.clone()
        };
        let off6 = NetworkState {
            forwarding6: false,
            ..state
        };
        assert!(!lost.is_in_order() && !off.is_in_order() && !off6.is_in_order());
    }
}

//! What of a cluster's network is there, and what is in its way: the one look that `up`, `status`, `doctor` and
//! the keeper share.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use kvmc_netns::firewall::{self, Accept, HostNetwork, Obstacle, Rulesets};
use kvmc_netns::{Links, sysctl};

use super::forwarding::{self, Family};
use super::{bridge, rules};
use crate::state::ClusterRecord;

/// With it packets between ports of a bridge meet the rules for forwarded ones.
const BRIDGED: &str = "net.bridge.bridge-nf-call-iptables";
const BRIDGED6: &str = "net.bridge.bridge-nf-call-ip6tables";

/// The network of one cluster, as it is on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkState {
    /// The host forwards IPv4.
    pub(crate) forwarding: bool,
    /// The host forwards IPv6, or no network of the cluster has it.
    pub(crate) forwarding6: bool,
    /// Bridges that are as recorded.
    pub(crate) bridges: BTreeSet<String>,
    /// Own nft tables that are not there, or not whole.
    pub(crate) lost_tables: Vec<String>,
    /// What is to be added to other programs' rules.
    pub(crate) accepts: Vec<Accept>,
    /// Other programs' rules that are in the way, and that kvmc must not change.
    pub(crate) obstacles: Vec<Obstacle>,
}

impl NetworkState {
    /// The rules and switches that are missing, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let tables = self
            .lost_tables
            .iter()
            .map(|table| format!("NAT rules (nft table inet {table})"));
        let accepts = self.accepts.iter().map(|a| format!("rules in {a}"));
        let forwarding = (!self.forwarding).then(|| "net.ipv4.ip_forward".to_owned());
        let forwarding6 = (!self.forwarding6).then(|| "net.ipv6.conf.all.forwarding".to_owned());
        let forwarding = forwarding.into_iter().chain(forwarding6);
        tables.chain(accepts).chain(forwarding).collect()
    }
}

/// How the host's links stand to its rules.
///
/// # Errors
/// When the links cannot be read.
pub(crate) async fn site(links: &Links) -> Result<HostNetwork> {
    Ok(HostNetwork {
        uplink: links.uplink().await?.map(|link| link.name),
        uplink6: links.uplink6().await?.map(|link| link.name),
        bridged: sysctl::read(BRIDGED)?.as_deref() == Some("1"),
        bridged6: sysctl::read(BRIDGED6)?.as_deref() == Some("1"),
    })
}

/// What changes without a word, and costs little to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glance {
    site: HostNetwork,
    forwarding: [bool; 2],
    legacy: u64,
}

/// Looks at it.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn glance(links: &Links) -> Result<Glance> {
    Ok(Glance {
        site: site(links).await?,
        forwarding: [
            forwarding::is_on(Family::V4)?,
            forwarding::is_on(Family::V6)?,
        ],
        legacy: tokio::task::spawn_blocking(firewall::legacy_digest).await??,
    })
}

/// Looks at a cluster's network.
///
/// # Errors
/// When links or rules cannot be read, or firewalld does not answer.
pub(crate) async fn look(record: &ClusterRecord, links: &Links) -> Result<NetworkState> {
    let site = site(links).await?;
    let mut bridges = BTreeSet::new();
    for network in record.networks() {
        if bridge::is_as_recorded(network, links).await? {
            bridges.insert(network.bridge.clone());
        }
    }
    let record = record.clone();
    // nft, iptables-save and firewall-cmd take their time, and the keeper serves leases meanwhile.
    let rules = tokio::task::spawn_blocking(move || look_at_rules(&record, &site));
    let mut state = rules.await.context("the look at the rules stopped")??;
    state.bridges = bridges;
    Ok(state)
}

fn look_at_rules(record: &ClusterRecord, site: &HostNetwork) -> Result<NetworkState> {
    let rulesets = Rulesets::read().context("failed to read the host's firewall rules")?;
    let mut seen = NetworkState {
        forwarding: forwarding::is_on(Family::V4)?,
        forwarding6: !forwarding::has_ipv6(record) || forwarding::is_on(Family::V6)?,
        ..NetworkState::default()
    };
    for network in record.networks() {
        let table = rules::table(record, network);
        let zone = if rulesets.has_firewalld() {
            firewall::zone_of(&network.bridge)
                .context("firewalld has rules on this host, but does not answer")?
        } else {
            None
        };
        let plan = rulesets.plan(&table, site, zone.as_deref());
        if !rulesets.hold(&table) {
            seen.lost_tables.push(table.name);
        }
        for accept in plan.accepts {
            if !seen.accepts.contains(&accept) {
                seen.accepts.push(accept);
            }
        }
        seen.obstacles.extend(plan.obstacles);
    }
    Ok(seen)
}

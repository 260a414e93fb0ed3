//! The state of a cluster's networks on the host and the obstacles to them, shared by `up`, `status`, `doctor` and the
//! keeper.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use kvmc_netns::firewall::{self, Accept, HostNetwork, Obstacle, Rulesets};
use kvmc_netns::outside::{outside, run_outside};
use kvmc_netns::{Links, sysctl};
use serde::{Deserialize, Serialize};

use super::forwarding::{self, Family};
use super::{bridge, rules};
use crate::state::ClusterRecord;

/// With this module, packets between ports of a bridge pass the rules for forwarded packets.
const BRIDGED: &str = "net.bridge.bridge-nf-call-iptables";
const BRIDGED6: &str = "net.bridge.bridge-nf-call-ip6tables";

/// The networks of one cluster, as they are on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkState {
    /// The host forwards IPv4.
    pub(crate) forwarding: bool,
    /// The host forwards IPv6, or no network of the cluster has it.
    pub(crate) forwarding6: bool,
    /// Bridges that exist as recorded.
    pub(crate) bridges: BTreeSet<String>,
    /// Own nft tables that are missing or incomplete.
    pub(crate) lost_tables: Vec<String>,
    /// Rules to be added to other programs' firewalls.
    pub(crate) accepts: Vec<Accept>,
    /// Rules of other programs that block the cluster, and that kvmc must not change.
    pub(crate) obstacles: Vec<Obstacle>,
}

impl NetworkState {
    /// The missing rules and sysctls, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let tables = self
            .lost_tables
            .iter()
            .map(|table| format!("NAT rules (nft table inet {table})"));
        let accepts = self.accepts.iter().map(super::accepts::words);
        let forwarding = (!self.forwarding).then(|| "net.ipv4.ip_forward".to_owned());
        let forwarding6 = (!self.forwarding6).then(|| "net.ipv6.conf.all.forwarding".to_owned());
        let forwarding = forwarding.into_iter().chain(forwarding6);
        tables.chain(accepts).chain(forwarding).collect()
    }
}

/// The links of the host, as its firewall rules see them.
///
/// # Errors
/// Fails if the links cannot be read.
pub(crate) async fn site(links: &Links) -> Result<HostNetwork> {
    Ok(HostNetwork {
        uplink: links.uplink().await?.map(|link| link.name),
        uplink6: links.uplink6().await?.map(|link| link.name),
        bridged: sysctl::read(BRIDGED)?.as_deref() == Some("1"),
        bridged6: sysctl::read(BRIDGED6)?.as_deref() == Some("1"),
    })
}

/// The same outside of a fork's namespace, with the links there.
///
/// # Errors
/// Fails if the links cannot be read.
pub(super) async fn site_outside(links: &Links) -> Result<HostNetwork> {
    let is_on = |name| anyhow::Ok(sysctl::read(name)?.as_deref() == Some("1"));
    let bridged = run_outside(|| anyhow::Ok((is_on(BRIDGED)?, is_on(BRIDGED6)?)))??;
    Ok(HostNetwork {
        uplink: links.uplink().await?.map(|link| link.name),
        uplink6: links.uplink6().await?.map(|link| link.name),
        bridged: bridged.0,
        bridged6: bridged.1,
    })
}

/// State that changes without a notice and is cheap to read, of this namespace and of the one outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Glance {
    here: Unannounced,
    outside: Option<Unannounced>,
}

/// The same of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unannounced {
    site: HostNetwork,
    forwarding: [bool; 2],
    legacy: u64,
}

impl Unannounced {
    /// Reads it in this thread's namespace.
    fn read(site: HostNetwork) -> Result<Self> {
        Ok(Self {
            site,
            forwarding: [
                forwarding::is_on(Family::V4)?,
                forwarding::is_on(Family::V6)?,
            ],
            legacy: firewall::legacy_digest()?,
        })
    }
}

/// Reads it.
///
/// # Errors
/// Fails if it cannot be read.
pub(crate) async fn glance(links: &Links) -> Result<Glance> {
    let here = site(links).await?;
    let there = match outside() {
        Some(_) => Some(site_outside(&run_outside(Links::open)??).await?),
        None => None,
    };
    let task = tokio::task::spawn_blocking(move || {
        let outside = there.map(|site| run_outside(|| Unannounced::read(site))?);
        Ok(Glance {
            here: Unannounced::read(here)?,
            outside: outside.transpose()?,
        })
    });
    task.await
        .context("the task that reads the rules panicked")?
}

/// Reads the state of a cluster's networks.
///
/// # Errors
/// Fails if links or rules cannot be read, or if firewalld does not answer.
pub(crate) async fn look(record: &ClusterRecord, links: &Links) -> Result<NetworkState> {
    let site = site(links).await?;
    let bridges = bridges(record, links).await?;
    let record = record.clone();
    // nft, iptables-save and firewall-cmd take time, and the keeper serves leases meanwhile.
    let rules = tokio::task::spawn_blocking(move || look_at_rules(&record, &site));
    let mut state = rules
        .await
        .context("the task that reads the rules panicked")??;
    state.bridges = bridges;
    Ok(state)
}

/// The bridges that exist as recorded.
///
/// # Errors
/// Fails if the links cannot be read.
pub(super) async fn bridges(record: &ClusterRecord, links: &Links) -> Result<BTreeSet<String>> {
    let mut bridges = BTreeSet::new();
    for network in record.networks() {
        if bridge::is_as_recorded(network, links).await? {
            bridges.insert(network.bridge.clone());
        }
    }
    Ok(bridges)
}

fn look_at_rules(record: &ClusterRecord, site: &HostNetwork) -> Result<NetworkState> {
    let rulesets = Rulesets::read().context("cannot read the host's firewall rules")?;
    let mut seen = NetworkState {
        forwarding: forwarding::is_on(Family::V4)?,
        forwarding6: !forwarding::has_ipv6(record) || forwarding::is_on(Family::V6)?,
        ..NetworkState::default()
    };
    for network in record.networks() {
        let table = rules::table(record, network);
        let zone = if rulesets.has_firewalld() {
            firewall::zone_of(&network.bridge)
                .context("firewalld has rules on this host but does not answer")?
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

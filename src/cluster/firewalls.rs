//! The firewalls of others: what they need so that nodes are reached, made, taken back, and seen when it
//! is gone.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use kvmc_netns::firewall::{self, Accept, Obstacle, Rulesets, Site};
use kvmc_netns::{Links, sysctl};
use serde::{Deserialize, Serialize};

use super::forwarding::{self, Family};
use super::network;
use crate::state::{ClusterDir, ClusterRecord, read_json, remove_file, replace_json};

/// With it packets between ports of a bridge meet the rules for forwarded ones.
const BRIDGED: &str = "net.bridge.bridge-nf-call-iptables";
const BRIDGED6: &str = "net.bridge.bridge-nf-call-ip6tables";

/// `firewall.json`: beside the record, for the keeper writes it while a verb may hold that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// What was added to others' rules, written down before it was made.
    pub(crate) accepts: Vec<Accept>,
    /// What was lost while the cluster ran, and put back, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restored: Option<Restored>,
}

/// Rules that others took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// In seconds since 1970.
    pub(crate) time: u64,
    /// How often until now.
    pub(crate) times: u64,
    pub(crate) what: Vec<String>,
}

impl Made {
    pub(crate) fn load(dir: &ClusterDir) -> Result<Self> {
        Ok(read_json(&dir.firewall())?.unwrap_or_default())
    }

    fn save(&self, dir: &ClusterDir) -> Result<()> {
        replace_json(&dir.firewall(), self, 0o600)
    }
}

/// What the firewalls on the host are to the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FirewallSeen {
    /// Own tables that are not there, or not whole.
    pub(crate) tables: Vec<String>,
    /// To be added to others' rules.
    pub(crate) accepts: Vec<Accept>,
    /// In the way, and not ours to change.
    pub(crate) obstacles: Vec<Obstacle>,
    /// The host does not route.
    pub(crate) forwarding_is_off: bool,
    /// A network has IPv6, and the host does not route that.
    pub(crate) forwarding6_is_off: bool,
}

impl FirewallSeen {
    /// All that is missing, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let tables = self
            .tables
            .iter()
            .map(|table| format!("NAT rules (nft table inet {table})"));
        let accepts = self.accepts.iter().map(|a| format!("rules in {a}"));
        let forwarding = self
            .forwarding_is_off
            .then(|| "net.ipv4.ip_forward".to_owned());
        let forwarding6 = self
            .forwarding6_is_off
            .then(|| "net.ipv6.conf.all.forwarding".to_owned());
        let forwarding = forwarding.into_iter().chain(forwarding6);
        tables.chain(accepts).chain(forwarding).collect()
    }
}

/// How the host's links stand to its rules.
///
/// # Errors
/// When the links cannot be read.
pub(crate) async fn site(links: &Links) -> Result<Site> {
    Ok(Site {
        uplink: links.uplink().await?.map(|link| link.name),
        uplink6: links.uplink6().await?.map(|link| link.name),
        bridged: sysctl::read(BRIDGED)?.as_deref() == Some("1"),
        bridged6: sysctl::read(BRIDGED6)?.as_deref() == Some("1"),
    })
}

/// What changes without a word, and costs little to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glance {
    site: Site,
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

/// What of the cluster's rules is there, and what is in their way.
///
/// # Errors
/// When rules cannot be read, or firewalld cannot be asked.
pub(crate) fn look(record: &ClusterRecord, site: &Site) -> Result<FirewallSeen> {
    let rulesets = Rulesets::read().context("failed to read the host's firewall rules")?;
    let mut seen = FirewallSeen {
        forwarding_is_off: !forwarding::is_on(Family::V4)?,
        forwarding6_is_off: forwarding::has_ipv6(record) && !forwarding::is_on(Family::V6)?,
        ..FirewallSeen::default()
    };
    for network in record.networks() {
        let table = network::rules(record, network);
        let zone = if rulesets.has_firewalld() {
            firewall::zone_of(&network.bridge)
                .context("firewalld has rules on this host, but does not answer")?
        } else {
            None
        };
        let plan = rulesets.plan(&table, site, zone.as_deref());
        if !rulesets.hold(&table) {
            seen.tables.push(table.name);
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

/// Adds to others' rules, and remembers it first.
///
/// # Errors
/// The state folder's, or the tool's, with its words.
pub(crate) fn make(record: &ClusterRecord, dir: &ClusterDir, accept: &Accept) -> Result<()> {
    let mut made = Made::load(dir)?;
    if !made.accepts.contains(accept) {
        made.accepts.push(accept.clone());
        made.save(dir)?;
    }
    accept
        .make(&firewall::mark(&record.spec.name))
        .with_context(|| format!("failed to add to {accept}"))
}

/// Takes all back that was added to others' rules; what is gone already is done. Goes on past errors and
/// returns them.
pub(crate) fn withdraw(record: &ClusterRecord, dir: &ClusterDir) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    let mark = firewall::mark(&record.spec.name);
    if let Err(e) = firewall::withdraw(&mark) {
        errors.push(anyhow::Error::from(e).context("failed to take rules out of iptables"));
    }
    match Made::load(dir) {
        Ok(made) => {
            for accept in &made.accepts {
                if let Err(e) = accept.unmake() {
                    errors
                        .push(anyhow::Error::from(e).context(format!("failed to leave {accept}")));
                }
            }
        }
        Err(e) => errors.push(e),
    }
    if errors.is_empty() {
        errors.extend(remove_file(&dir.firewall()).err());
    }
    errors
}

/// Puts back what others took away while the cluster runs; no node notices. Returns what it was.
///
/// # Errors
/// What cannot be put back.
pub(crate) fn restore(
    record: &ClusterRecord,
    dir: &ClusterDir,
    seen: &FirewallSeen,
) -> Result<Vec<String>> {
    let missing = seen.missing();
    if missing.is_empty() {
        return Ok(missing);
    }
    let lost: BTreeSet<_> = seen.tables.iter().collect();
    for network in record.networks() {
        if lost.contains(&network.table) {
            network::rules(record, network).apply()?;
        }
    }
    for accept in &seen.accepts {
        make(record, dir, accept)?;
    }
    if seen.forwarding_is_off {
        forwarding::enable(&dir.state(), Family::V4)?;
    }
    if seen.forwarding6_is_off {
        forwarding::enable(&dir.state(), Family::V6)?;
    }
    let mut made = Made::load(dir)?;
    let times = made.restored.map_or(0, |r| r.times);
    made.restored = Some(Restored {
        time: crate::ids::now() as u64,
        times: times + 1,
        what: missing.clone(),
    });
    made.save(dir)?;
    Ok(missing)
}

/// Removes rules that carry the name of a cluster which is not recorded and whose bridge is gone. Returns
/// what it was.
///
/// # Errors
/// When rules cannot be read or removed.
pub(crate) async fn remove_leftovers(cluster: &str, links: &Links) -> Result<Vec<String>> {
    let names: Vec<_> = links.list().await?.into_iter().map(|l| l.name).collect();
    Ok(firewall::remove_leftovers(
        &firewall::mark(cluster),
        &names,
    )?)
}

//! What is there of a fork's way out, inside of its namespace and outside.

use anyhow::{Context, Result};
use kvmc_netns::Links;
use kvmc_netns::firewall::{self, HostNetwork, Rulesets};
use kvmc_netns::outside::{outside, run_outside};

use crate::network::forwarding::{self, Family};
use crate::network::state::site_outside;
use crate::network::{accepts, naming, rules};
use crate::spec::Forward;
use crate::state::{ClusterDir, ClusterRecord, Fork};

/// The fork's end of the link.
pub(super) const INNER: &str = "outside";

/// Whether a fork's way out is there as recorded. Other clusters need none.
///
/// # Errors
/// Fails if links or rules cannot be read.
pub(crate) async fn is_there(record: &ClusterRecord, dir: &ClusterDir) -> Result<bool> {
    Ok(missing(record, dir).await?.is_empty())
}

/// What lacks of a fork's way out, in words.
///
/// # Errors
/// Fails if links or rules cannot be read.
pub(crate) async fn missing(record: &ClusterRecord, dir: &ClusterDir) -> Result<Vec<String>> {
    let Some(fork) = &record.host.fork else {
        return Ok(Vec::new());
    };
    let Some(table) = table(record, fork).filter(|_| outside().is_some()) else {
        return Ok(vec!["the link to the outside".to_owned()]);
    };
    if !is_linked(fork, dir).await? {
        return Ok(vec!["the link to the outside".to_owned()]);
    }
    let site = site_outside(&open_outside()?).await?;
    let look = move || run_outside(|| missing_rules(&table, &site))?;
    let task = tokio::task::spawn_blocking(look).await;
    task.context("the task that reads the rules panicked")?
}

/// The rules and sysctls that this namespace lacks.
fn missing_rules(table: &firewall::Table, site: &HostNetwork) -> Result<Vec<String>> {
    let rulesets = Rulesets::read().context("cannot read the host's firewall rules")?;
    let mut missing = Vec::new();
    if !rulesets.hold(table) {
        missing.push(format!("NAT rules outside (nft table inet {})", table.name));
    }
    let accepts = plan(&rulesets, table, site)?.accepts;
    let words = |accept| format!("{} outside", accepts::words(accept));
    missing.extend(accepts.iter().map(words));
    if !forwarding::is_on(Family::V4)? {
        missing.push("net.ipv4.ip_forward outside".to_owned());
    }
    if table.prefix6.is_some() && !forwarding::is_on(Family::V6)? {
        missing.push("net.ipv6.conf.all.forwarding outside".to_owned());
    }
    Ok(missing)
}

/// What the firewalls of this namespace need, so that the link's packets pass.
pub(super) fn plan(
    rulesets: &Rulesets,
    table: &firewall::Table,
    site: &HostNetwork,
) -> Result<firewall::Plan> {
    let zone = match rulesets.has_firewalld() {
        true => firewall::zone_of(&table.bridge)
            .context("firewalld has rules on this host but does not answer")?,
        false => None,
    };
    Ok(rulesets.plan(table, site, zone.as_deref()))
}

/// Whether both ends of the link are there and up.
pub(super) async fn is_linked(fork: &Fork, dir: &ClusterDir) -> Result<bool> {
    let outer = open_outside()?.find(&fork.link).await?;
    let inner = Links::open()?.find(INNER).await?;
    let is_ours = |alias: Option<String>| alias.as_deref() == Some(&dir.mark());
    Ok(outer.is_some_and(|l| l.up && is_ours(l.alias)) && inner.is_some_and(|l| l.up))
}

/// The links outside.
pub(super) fn open_outside() -> Result<Links> {
    Ok(run_outside(Links::open)??)
}

/// The nft table outside, which treats the link as a cluster's bridge.
pub(super) fn table(record: &ClusterRecord, fork: &Fork) -> Option<firewall::Table> {
    let [gateway, inner] = fork.ends()?;
    let ends6 = fork.ends6();
    let forward = |(forward, number): (&Forward, u16)| firewall::Forward {
        protocol: forward.protocol,
        address: forward.address,
        port: forward.port,
        to: inner,
        to6: ends6.map(|[_, inner]| inner),
        to_port: rules::inner_port(number),
    };
    Some(firewall::Table {
        name: naming::table(&fork.link),
        mark: firewall::mark(&record.spec.name),
        bridge: fork.link.clone(),
        subnet: fork.transit?,
        gateway,
        gateway6: ends6.map(|[gateway, _]| gateway),
        prefix6: fork.transit6,
        isolated: false,
        host_ports: Vec::new(),
        reach_from: Vec::new(),
        ports: Vec::new(),
        floating: Vec::new(),
        forwards: record.forwards.iter().zip(0..).map(forward).collect(),
    })
}

//! Which ranges and bridges are free: of the host's links and routes, and of the other clusters, those
//! that are stopped too.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use ipnetwork::{IpNetwork, Ipv4Network};
use kvmc_netns::{Links, PendingProbe, range};

use super::namespace::namespace;
use crate::spec::ClusterSpec;
use crate::state::{ClusterDir, ClusterRecord, NetworkRecord, Phase};

/// A network of another cluster.
#[derive(Debug, Clone)]
struct Other {
    cluster: String,
    stopped: bool,
    bridge: String,
    subnet: Ipv4Network,
}

/// The networks of all other clusters that are here or will be again: a stopped one could not start
/// where its range is taken.
fn others(dir: &ClusterDir) -> Vec<Other> {
    // A record that cannot be read is told of by the verbs that work on its cluster.
    let records = dir
        .others()
        .into_iter()
        .filter_map(|other| ClusterRecord::load(&other).ok().flatten());
    let here = namespace().ok();
    let mut all = Vec::new();
    for record in records {
        let stopped = record.phase == Phase::Stopped;
        if !stopped && Some(record.host.namespace) != here {
            continue;
        }
        all.extend(record.networks().map(|network| Other {
            cluster: record.spec.name.clone(),
            stopped,
            bridge: network.bridge.clone(),
            subnet: network.subnet,
        }));
    }
    all
}

/// Refuses a range or bridge that something else on the host or another cluster has, before anything is
/// made.
///
/// # Errors
/// The cluster, link or route in the way, with a free range or the flag that helps.
pub(crate) async fn check_free(
    network: &NetworkRecord,
    dir: &ClusterDir,
    is_new: bool,
    links: &Links,
) -> Result<()> {
    let (bridge, subnet) = (&network.bridge, network.subnet);
    // How to ask for others.
    let bridge_cure = if network.is_main() {
        "--bridge NAME".to_owned()
    } else {
        format!("`bridge` of network {}", network.name)
    };
    let subnet_cure = subnet_flag(network);
    let others = others(dir);
    if let Some(other) = others.iter().find(|o| o.bridge == *bridge) {
        let Other { cluster, .. } = other;
        // Between two that were made before this was looked at, the one that starts first has it.
        if is_new || !other.stopped {
            bail!(
                "{bridge} is the bridge of cluster `{cluster}`; pass {bridge_cure} for another name"
            );
        }
    }
    if let Some(link) = links.find(bridge).await? {
        let all = links.list().await?;
        let ports: Vec<_> = all
            .iter()
            .filter(|l| l.master == Some(link.index))
            .map(|l| l.name.as_str())
            .collect();
        let ports = if ports.is_empty() {
            String::new()
        } else {
            format!(", ports: {}", ports.join(", "))
        };
        bail!(
            "{bridge} exists and was not made by kvmc for this cluster (kind: {}{ports}); pass {bridge_cure} for another name, or remove it with `ip link delete {bridge}`",
            link.kind.as_deref().unwrap_or("device"),
        );
    }
    let conflict = match others.iter().find(|o| o.subnet.overlaps(subnet)) {
        Some(other) if is_new || !other.stopped => {
            let state = if other.stopped { "stopped " } else { "" };
            Some(format!(
                "{subnet} overlaps {} of the {state}cluster `{}`",
                other.subnet, other.cluster
            ))
        }
        _ => range::overlap(
            subnet,
            &links.addresses().await?,
            &links.routes().await?,
            None,
        )
        .map(|conflict| conflict.to_string()),
    };
    let Some(conflict) = conflict else {
        return Ok(());
    };
    let auto = if network.is_main() {
        " or --subnet auto"
    } else {
        ""
    };
    let free = range::free_subnet(subnet.prefix(), &taken(&others, links).await?)
        .map(|s| format!("; {s} is free: pass {subnet_cure} {s}{auto}"))
        .unwrap_or_default();
    bail!("{conflict}{free}");
}

/// The addresses that the host is to have are being asked for on its links.
#[derive(Debug)]
pub(crate) struct Probe {
    networks: Vec<NetworkRecord>,
    asked: PendingProbe,
}

impl Probe {
    /// Asks who has the gateways' addresses of new networks.
    ///
    /// # Errors
    /// That the links cannot be read.
    pub(crate) async fn start(networks: Vec<NetworkRecord>, links: &Links) -> Result<Self> {
        let addresses = networks.iter().flat_map(|n| [n.gateway, last(n)]).collect();
        let asked = links.who_has(addresses).await?;
        Ok(Self { networks, asked })
    }

    /// Refuses networks whose gateway's address a machine on one of the host's links answers for: the host has
    /// no address or route in that range, and would still cut it off, or be cut off by it.
    ///
    /// # Errors
    /// The machine's Ethernet address and link, with a free range.
    pub(crate) async fn refuse_taken(self, dir: &ClusterDir, links: &Links) -> Result<()> {
        let heard = self.asked.answers();
        for network in &self.networks {
            let is_proxy = |mac| {
                heard
                    .iter()
                    .any(|h| h.mac == mac && h.address == last(network))
            };
            let mut all = heard.iter().filter(|h| h.address == network.gateway);
            let Some(holder) = all.find(|h| !is_proxy(h.mac)) else {
                continue;
            };
            let mut taken = taken(&others(dir), links).await?;
            taken.push(IpNetwork::V4(network.subnet));
            let free = range::free_subnet(network.subnet.prefix(), &taken)
                .map(|s| format!("; {s} is free: pass {} {s}", subnet_flag(network)))
                .unwrap_or_default();
            bail!(
                "{} is to be this host's address in {}, and {} answers for it on {}{free}",
                holder.address,
                network.subnet,
                holder.mac,
                holder.link
            );
        }
        Ok(())
    }
}

/// A router may answer for whatever it is asked (proxy ARP), so it is asked for one more.
fn last(network: &NetworkRecord) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network.subnet.broadcast()).saturating_sub(1))
}

/// How to ask for another range.
fn subnet_flag(network: &NetworkRecord) -> String {
    if network.is_main() {
        "--subnet".to_owned()
    } else {
        format!("`subnet` of network {} as", network.name)
    }
}

/// A subnet for a new cluster that nothing else has: the usual one if it is free.
///
/// # Errors
/// When the host's links cannot be read, or all private ranges are taken.
pub(crate) async fn free_subnet(
    spec: &ClusterSpec,
    dir: &ClusterDir,
    links: &Links,
) -> Result<Ipv4Network> {
    let mut taken = taken(&others(dir), links).await?;
    taken.extend(spec.networks.iter().map(|n| IpNetwork::V4(n.subnet)));
    let usual = spec.subnet;
    let is_free = |t: &IpNetwork| match t {
        IpNetwork::V4(t) => t.prefix() < range::SHORTEST_PLACE || !t.overlaps(usual),
        IpNetwork::V6(_) => true,
    };
    if taken.iter().all(is_free) {
        return Ok(usual);
    }
    range::free_subnet(usual.prefix(), &taken).with_context(|| {
        format!(
            "no private /{} is free on this host; pass a smaller one with --subnet",
            usual.prefix()
        )
    })
}

async fn taken(others: &[Other], links: &Links) -> Result<Vec<IpNetwork>> {
    let addresses = links.addresses().await?.into_iter().map(|a| a.network);
    let routes = links.routes().await?.into_iter().map(|r| r.destination);
    let others = others.iter().map(|o| IpNetwork::V4(o.subnet));
    Ok(addresses.chain(routes).chain(others).collect())
}

/// Looks again once the bridge is there: two clusters may have found one range free at the same moment.
///
/// # Errors
/// That another link has it by now.
pub(crate) async fn check_alone(network: &NetworkRecord, links: &Links) -> Result<()> {
    let own = links.find(&network.bridge).await?.map(|link| link.index);
    let conflict = range::overlap(network.subnet, &links.addresses().await?, &[], own);
    match conflict {
        Some(conflict) => bail!("{conflict}, which was not there a moment ago"),
        None => Ok(()),
    }
}

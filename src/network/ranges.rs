//! Checks which subnets and bridges are free. Links and routes of the host and other clusters use them, including
//! stopped clusters.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use ipnetwork::{IpNetwork, Ipv4Network};
use kvmc_netns::{Links, PendingProbe, range};

use crate::hint::{add_hint, bail_with_hint};
use crate::spec::ClusterSpec;
use crate::state::namespace;
use crate::state::{ClusterDir, ClusterRecord, NetworkRecord, Phase};

/// A network of another cluster.
#[derive(Debug, Clone)]
struct OtherNetwork {
    cluster: String,
    stopped: bool,
    bridge: String,
    subnet: Ipv4Network,
}

/// The networks of all other clusters, including stopped ones, which could not start again if their subnet were taken.
fn others(dir: &ClusterDir) -> Vec<OtherNetwork> {
    // The verbs for its cluster report a record that cannot be read.
    let records = dir
        .others()
        .into_iter()
        .filter_map(|other| ClusterRecord::load(&other).ok().flatten());
    let here = namespace().ok();
    let mut all = Vec::new();
    for record in records {
        // A fork's networks are in a namespace of their own.
        if record.host.fork.is_some() {
            continue;
        }
        let stopped = record.phase == Phase::Stopped;
        if !stopped && Some(record.host.namespace) != here {
            continue;
        }
        all.extend(record.networks().map(|network| OtherNetwork {
            cluster: record.spec.name.clone(),
            stopped,
            bridge: network.bridge.clone(),
            subnet: network.subnet,
        }));
    }
    all
}

/// How the user chose a subnet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubnetChoice {
    /// The cluster is new.
    pub(crate) is_new: bool,
    /// The user named the subnet, or the cluster has it already. It then wins over wider routes.
    pub(crate) is_explicit: bool,
}

/// Refuses a subnet or bridge that another cluster or something else on the host uses, before anything is made. Returns
/// the route that an explicit subnet hides.
///
/// # Errors
/// Fails with the cluster, link or route in the way, and with a free subnet or the flag to use.
pub(crate) async fn check_free(
    network: &NetworkRecord,
    dir: &ClusterDir,
    choice: SubnetChoice,
    links: &Links,
) -> Result<Option<String>> {
    let subnet = network.subnet;
    let others = others(dir);
    check_bridge(network, &others, choice, links).await?;
    let (addresses, routes) = (links.addresses().await?, links.routes().await?);
    let flag = subnet_flag(network);
    let mut insist = None;
    let conflict = match others.iter().find(|o| o.subnet.overlaps(subnet)) {
        Some(other) if choice.is_new || !other.stopped => {
            let state = if other.stopped { "stopped " } else { "" };
            format!(
                "{subnet} overlaps {} of the {state}cluster `{}`",
                other.subnet, other.cluster
            )
        }
        _ => match range::overlap(subnet, &addresses, &routes, None) {
            None => return Ok(None),
            Some(conflict) => {
                if range::insoluble(subnet, &addresses, &routes).is_none() {
                    if choice.is_explicit {
                        return Ok(Some(format!(
                            "{conflict}; {subnet} leads to the nodes from now on"
                        )));
                    }
                    insist = Some(format!(
                        "{flag} {subnet} takes it all the same, and its addresses lead to the nodes"
                    ));
                }
                conflict.to_string()
            }
        },
    };
    let auto = if network.is_main() {
        " or --subnet auto"
    } else {
        ""
    };
    let free = range::free_subnet(subnet.prefix(), &taken(&others, links).await?)
        .map(|s| format!("{s} is free; choose it with {flag} {s}{auto}"));
    let hints: Vec<_> = insist.into_iter().chain(free).collect();
    let error = anyhow::anyhow!("{conflict}");
    Err(match hints.is_empty() {
        true => error,
        false => add_hint(error, hints.join("; ")),
    })
}

/// Refuses a bridge that another cluster or something else on the host uses.
async fn check_bridge(
    network: &NetworkRecord,
    others: &[OtherNetwork],
    choice: SubnetChoice,
    links: &Links,
) -> Result<()> {
    let bridge = &network.bridge;
    // How the user chooses another.
    let cure = if network.is_main() {
        "--bridge NAME".to_owned()
    } else {
        format!("`bridge` of network {}", network.name)
    };
    if let Some(other) = others.iter().find(|o| o.bridge == *bridge) {
        let OtherNetwork { cluster, .. } = other;
        // Two clusters of an older kvmc may share a bridge name. The one that starts first gets it.
        if choice.is_new || !other.stopped {
            bail_with_hint!(
                format!("choose another name with {cure}"),
                "{bridge} is the bridge of cluster `{cluster}`"
            );
        }
    }
    let Some(link) = links.find(bridge).await? else {
        return Ok(());
    };
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
    bail_with_hint!(
        format!("choose another name with {cure}"),
        "{bridge} exists, but kvmc did not make it for this cluster (kind: {}{ports})",
        link.kind.as_deref().unwrap_or("device"),
    );
}

/// Asks the host's links whether another machine has an address of the cluster.
#[derive(Debug)]
pub(crate) struct Probe {
    networks: Vec<NetworkRecord>,
    asked: PendingProbe,
}

impl Probe {
    /// Sends the questions for the gateways' addresses of new networks.
    ///
    /// # Errors
    /// Fails if the links cannot be read.
    pub(crate) async fn start(networks: Vec<NetworkRecord>, links: &Links) -> Result<Self> {
        let addresses = networks.iter().flat_map(|n| [n.gateway, last(n)]).collect();
        let asked = links.who_has(addresses).await?;
        Ok(Self { networks, asked })
    }

    /// Refuses networks whose gateway address another machine on the host's links has. The host has no route to that
    /// subnet yet, but the cluster and that machine would cut each other off.
    ///
    /// # Errors
    /// Fails with the machine's MAC address and link, and a free subnet.
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
                .map(|s| format!("{s} is free; choose it with {} {s}", subnet_flag(network)));
            let error = anyhow::anyhow!(
                "{} would be this host's address in {}, but {} has it on {}",
                holder.address,
                network.subnet,
                holder.mac,
                holder.link
            );
            return Err(match free {
                Some(free) => add_hint(error, free),
                None => error,
            });
        }
        Ok(())
    }
}

/// A router with proxy ARP answers for every address, so one more address is asked for.
fn last(network: &NetworkRecord) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network.subnet.broadcast()).saturating_sub(1))
}

/// How the user chooses another subnet.
fn subnet_flag(network: &NetworkRecord) -> String {
    if network.is_main() {
        "--subnet".to_owned()
    } else {
        format!("`subnet` of network {} as", network.name)
    }
}

/// A free subnet for a new cluster: the default one if possible.
///
/// # Errors
/// Fails if the host's links cannot be read, or if all private ranges are in use.
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
            "no private /{} is free on this host; choose a smaller one with --subnet",
            usual.prefix()
        )
    })
}

async fn taken(others: &[OtherNetwork], links: &Links) -> Result<Vec<IpNetwork>> {
    let addresses = links.addresses().await?.into_iter().map(|a| a.network);
    let routes = links.routes().await?.into_iter().map(|r| r.destination);
    let others = others.iter().map(|o| IpNetwork::V4(o.subnet));
    Ok(addresses.chain(routes).chain(others).collect())
}

/// Checks the subnet again once the bridge exists, because two clusters may have found it free at the same time.
///
/// # Errors
/// Fails if another link has it by now.
pub(crate) async fn check_alone(network: &NetworkRecord, links: &Links) -> Result<()> {
    let own = links.find(&network.bridge).await?.map(|link| link.index);
    let conflict = range::overlap(network.subnet, &links.addresses().await?, &[], own);
    match conflict {
        Some(conflict) => bail!("{conflict}, which has just been added"),
        None => Ok(()),
    }
}

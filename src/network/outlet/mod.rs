//! A fork's way out of its network namespace: a pair of links, addresses between private networks, and NAT outside.

mod look;
mod remains;
mod removal;
mod transit;

pub(crate) use self::look::{is_there, missing};
pub(crate) use self::remains::{left, remove_left};
pub(crate) use self::removal::remove;

use anyhow::{Context, Error, Result, bail};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use kvmc_netns::firewall::{self, HostNetwork, Rulesets};
use kvmc_netns::outside::{outside, run_outside};
use kvmc_netns::{Links, sysctl};

use self::look::{INNER, is_linked, open_outside, plan, table};
use super::forwarding::{self, Family};
use super::{accepts, state};
use crate::failpoint::failpoint;
use crate::hint::bail_with_hint;
use crate::state::{ClusterDir, ClusterRecord, Fork};

/// Ethernet's MTU in bytes, used if there is no uplink, and the most.
const MTU: u32 = 1500;
/// Makes a fork's way out, or what lacks of it. The record names its subnet before.
///
/// # Errors
/// Fails if no subnet is free, if another program has the link's name, and if rules of others block it.
pub(crate) async fn make(record: &mut ClusterRecord, dir: &ClusterDir) -> Result<()> {
    let links = open_outside()?;
    let is_linked = match &record.host.fork {
        Some(fork) if fork.transit.is_some() => is_linked(fork, dir).await?,
        Some(_) => false,
        None => return Ok(()),
    };
    if !is_linked {
        remains::sweep(dir).await;
        transit::choose(record, dir, &links).await?;
    }
    let Some(fork) = record.host.fork.clone() else {
        return Ok(());
    };
    if !is_linked {
        connect(&fork, dir, &links).await?;
    }
    failpoint!("fork.link");
    let table = table(record, &fork).context("the fork's link has no addresses")?;
    let site = state::site_outside(&links).await?;
    let (record, dir) = (record.clone(), dir.clone());
    tokio::task::spawn_blocking(move || {
        run_outside(|| apply(&record, &dir, &table, &site)).map_err(Error::from)?
    })
    .await
    .context("the task that makes the rules panicked")?
}

/// Makes the pair of links with its addresses and routes.
async fn connect(fork: &Fork, dir: &ClusterDir, outer: &Links) -> Result<()> {
    let Fork { link, .. } = fork;
    match outer.find(link).await? {
        Some(there) if there.alias.as_deref() == Some(&dir.mark()) => {
            outer.delete(link).await?;
        }
        Some(_) => bail_with_hint!(
            format!("`ip link delete {link}` removes it"),
            "the link {link} exists, but kvmc did not make it for this cluster"
        ),
        None => {}
    }
    let inner = Links::open()?;
    inner.delete(INNER).await?;
    let mtu = outer.uplink().await?.map_or(MTU, |l| l.mtu.clamp(576, MTU));
    let namespace = outside().context("a fork needs a namespace of its own")?;
    inner.create_veth(link, INNER, mtu, &dir.mark()).await?;
    inner.move_link(link, &namespace).await?;
    failpoint!("fork.veth");
    let [there, here] = ends(fork)?;
    let has_ipv6 = fork.transit6.is_some();
    let name = link.clone();
    run_outside(move || set_parameters(&name, has_ipv6))??;
    set_parameters(INNER, has_ipv6)?;
    outer.set_up(link, &there).await?;
    inner.set_up_loopback().await?;
    inner.set_up(INNER, &here).await?;
    for router in there {
        inner.add_default_route(router.ip()).await?;
    }
    Ok(())
}

/// The addresses of both ends with their prefixes, that outside first.
fn ends(fork: &Fork) -> Result<[Vec<IpNetwork>; 2]> {
    let v4 = fork.ends().zip(fork.transit);
    let (v4, transit) = v4.context("the fork's link has no addresses")?;
    let v6 = fork.ends6().zip(fork.transit6);
    let mut both = v4.map(|end| -> Result<Vec<IpNetwork>> {
        Ok(vec![Ipv4Network::new(end, transit.prefix())?.into()])
    });
    if let Some((ends, transit)) = v6 {
        for (all, end) in both.iter_mut().zip(ends) {
            if let Ok(all) = all {
                all.push(Ipv6Network::new(end, transit.prefix())?.into());
            }
        }
    }
    let [outer, inner] = both;
    Ok([outer?, inner?])
}

/// Lets a link answer for its own addresses only, since both namespaces have the cluster's. Switches IPv6 on or off for it.
fn set_parameters(link: &str, has_ipv6: bool) -> Result<()> {
    let v6: &[(&str, &str)] = match has_ipv6 {
        true => &[
            ("ipv6", "accept_ra=0"),
            ("ipv6", "accept_dad=0"),
            ("ipv6", "disable_ipv6=0"),
        ],
        false => &[("ipv6", "disable_ipv6=1")],
    };
    let v4 = [("ipv4", "arp_ignore=1"), ("ipv4", "arp_announce=2")];
    for (family, setting) in v4.iter().chain(v6) {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let name = format!("net/{family}/conf/{link}/{key}");
        // A kernel without IPv6 has no such parameter.
        if sysctl::read(&name)?.is_some() {
            sysctl::write(&name, value)?;
        }
    }
    Ok(())
}

/// Restores the rules of a fork outside that another program removed. Returns what that was, in words.
///
/// # Errors
/// Fails if they cannot be read or restored.
pub(crate) async fn restore(record: &ClusterRecord, dir: &ClusterDir) -> Result<Vec<String>> {
    let Some(fork) = &record.host.fork else {
        return Ok(Vec::new());
    };
    let missing = missing(record, dir).await?;
    // Only a verb makes the link.
    if missing.is_empty() || !is_linked(fork, dir).await? {
        return Ok(Vec::new());
    }
    // A verb may have changed the forwards since the look, and made its rules itself.
    if ClusterRecord::load(dir)?.as_ref() != Some(record) {
        return Ok(Vec::new());
    }
    make(&mut record.clone(), dir).await?;
    Ok(missing)
}

/// Applies the table anew, after the forwards have changed.
///
/// # Errors
/// Fails with nft's words.
pub(crate) fn apply_forwards(record: &ClusterRecord) -> Result<()> {
    let fork = record.host.fork.as_ref();
    match fork.and_then(|fork| table(record, fork)) {
        Some(table) => Ok(run_outside(|| table.apply())?.map(drop)?),
        None => Ok(()),
    }
}

/// Makes what others' packets need outside. This thread is there.
fn apply(
    record: &ClusterRecord,
    dir: &ClusterDir,
    table: &firewall::Table,
    site: &HostNetwork,
) -> Result<()> {
    forwarding::enable(&dir.state(), Family::V4)?;
    if table.prefix6.is_some() {
        forwarding::enable(&dir.state(), Family::V6)?;
    }
    let rulesets = Rulesets::read().context("cannot read the host's firewall rules")?;
    let plan = plan(&rulesets, table, site)?;
    if let Some(obstacle) = plan.obstacles.iter().find(|o| o.certain) {
        bail!("{obstacle}");
    }
    table.apply()?;
    failpoint!("fork.rules");
    for accept in &plan.accepts {
        accepts::make(record, dir, accept)?;
    }
    Ok(())
}

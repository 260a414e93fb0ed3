//! Checks that refuse `up` before anything is made.

use anyhow::{Result, bail};
use kvmc_images::Image;
use kvmc_netns::Links;
use kvmc_netns::firewall::Obstacle;

use super::cpus::check_cpus;
use crate::hint::bail_with_hint;
use crate::host::{self, Finding};
use crate::image::Images;
use crate::model::Progress;
use crate::network::{self, Probe, SubnetChoice};
use crate::project;
use crate::spec::Bytes;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Refuses a subnet or bridge that is taken, the user's files in the way, and a state folder with too long a path.
/// Also returns the routes that chosen subnets hide.
///
/// # Errors
/// Fails at the first obstacle, with its cure.
pub(super) async fn check(
    record: &ClusterRecord,
    dir: &ClusterDir,
    images: &Images,
    existing: Option<&ClusterRecord>,
    insists: bool,
    links: &Links,
) -> Result<(Probe, Vec<String>)> {
    dir.check_sockets(record.nodes.iter().map(|n| n.name.as_str()))?;
    check_disks(record, images)?;
    check_cpus(record)?;
    let on_host = existing.is_some_and(|r| r.phase != Phase::Stopped);
    let (mut new, mut hidden) = (Vec::new(), Vec::new());
    for network in record.networks() {
        let ours = match links.find(&network.bridge).await? {
            Some(link) => on_host && link.mac == Some(network.mac),
            None => false,
        };
        if !ours {
            let choice = SubnetChoice {
                is_new: existing.is_none(),
                // Others beside the main one are always named.
                is_explicit: insists || existing.is_some() || !network.is_main(),
            };
            hidden.extend(network::check_range(network, dir, choice, links).await?);
            network::check_ipv6(network, links).await?;
            kvmc_netns::dhcp::Server::check_free(&network.bridge)?;
            kvmc_netns::dns::Server::check_free(network.gateway.into())?;
            if let Some(gateway) = network.gateway6() {
                kvmc_netns::dns::Server::check_free(gateway.into())?;
            }
            new.push(network.clone());
        }
    }
    let probe = Probe::start(new, links).await?;
    let mine = existing.filter(|_| on_host).map(|r| &r.forwards[..]);
    network::check_ports(&record.forwards, mine.unwrap_or_default(), record, dir)?;
    if existing.is_none_or(|r| r.project != record.project) {
        project::check_clusters(&record.project, &record.spec.name, dir)?;
    }
    Ok((probe, hidden))
}

/// Refuses disks that are smaller than their images. Skips images that do not exist yet.
///
/// # Errors
/// Fails at the first such node.
pub(super) fn check_disks(record: &ClusterRecord, images: &Images) -> Result<()> {
    for node in &record.nodes {
        // An image that does not exist yet is checked once it does.
        if let Ok(Image {
            name, virtual_size, ..
        }) = images.of(node)
            && node.disk.0 < *virtual_size
        {
            let size = Bytes::covering(*virtual_size);
            bail_with_hint!(
                format!("choose a larger disk, such as --disk {}G", size.as_gib()),
                "disk: {} for {} is smaller than its image {name} ({size})",
                node.disk,
                node.name
            );
        }
    }
    Ok(())
}

/// Refuses to make a network that firewall rules would block. Only warns if nodes run already, or if the rules may let
/// it pass.
///
/// # Errors
/// Fails with all obstacles, each with its table, chain, policy and cure.
pub(super) fn check_obstacles(
    obstacles: &[Obstacle],
    existing: Option<&ClusterRecord>,
    progress: &dyn Progress,
) -> Result<()> {
    let runs = existing.is_some_and(|r| r.phase != Phase::Stopped);
    let (refused, warned): (Vec<_>, Vec<_>) = obstacles.iter().partition(|o| o.certain && !runs);
    for obstacle in warned {
        progress.say(&format!("warning: {obstacle}"));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
    bail!("{}", refused.join("\n       "))
}

/// Fails if anything is missing.
///
/// # Errors
/// Fails with everything that is missing, and how to install it.
pub(super) fn fail_on(checks: &[host::Check]) -> Result<()> {
    let missing: Vec<_> = checks
        .iter()
        .filter_map(|c| match &c.finding {
            Finding::Missing { what, cure, .. } => Some(format!("{what}; {cure}")),
            _ => None,
        })
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("{}", missing.join("\n       "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Silent;

    fn obstacle(certain: bool) -> Obstacle {
        Obstacle {
            place: "the nft table inet filter, chain forward (policy drop)".to_owned(),
            packets: vec!["from the nodes to the outside"],
            cure: "let them through".to_owned(),
            certain,
        }
    }

    #[test]
    fn a_blocked_network_is_refused_unless_nodes_run_or_it_may_pass() {
        let check = |certain, existing| check_obstacles(&[obstacle(certain)], existing, &Silent);
        let error = check(true, None).unwrap_err().to_string();
        assert!(error.contains("chain forward (policy drop)"), "{error}");
        assert!(check(false, None).is_ok());
        let mut record = crate::samples::record();
        record.phase = Phase::Up;
        assert!(check(true, Some(&record)).is_ok());
    }
}

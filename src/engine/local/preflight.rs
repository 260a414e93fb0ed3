//! What `up` refuses before anything is made.

use anyhow::{Result, bail};
use kvmc_images::Image;
use kvmc_netns::Links;
use kvmc_netns::firewall::Obstacle;

use crate::host::{self, Finding};
use crate::image::Images;
use crate::model::Progress;
use crate::network::{self, Probe};
use crate::project;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Refuses what would hurt: a range or bridge that is taken, files of the
/// user's in the way, a folder too deep.
///
/// # Errors
/// The first thing in the way, with what to do.
pub(super) async fn check(
    record: &ClusterRecord,
    dir: &ClusterDir,
    images: &Images,
    existing: Option<&ClusterRecord>,
    links: &Links,
) -> Result<Probe> {
    dir.check_sockets(record.nodes.iter().map(|n| n.name.as_str()))?;
    check_disks(record, images)?;
    let on_host = existing.is_some_and(|r| r.phase != Phase::Stopped);
    let mut new = Vec::new();
    for network in record.networks() {
        let ours = match links.find(&network.bridge).await? {
            Some(link) => on_host && link.mac == Some(network.mac),
            None => false,
        };
        if !ours {
            network::check_range(network, dir, existing.is_none(), links).await?;
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
    if existing.is_none() {
        project::check_folder(&record.project)?;
    }
    Ok(probe)
}

/// Refuses disks below the size of their images, of those that are there.
///
/// # Errors
/// The first such node.
pub(super) fn check_disks(record: &ClusterRecord, images: &Images) -> Result<()> {
    for node in &record.nodes {
        // One that is still to be made is looked at when it is there.
        if let Ok(Image {
            name, virtual_size, ..
        }) = images.of(node)
            && node.disk.0 < *virtual_size
        {
            bail!(
                "disk: {} for {} is smaller than its image {name} ({} MiB); ask for more with --disk",
                node.disk,
                node.name,
                virtual_size.div_ceil(1 << 20)
            );
        }
    }
    Ok(())
}

/// Refuses to make a network that is dead from the start; where nodes run already, or where it is not
/// certain, warns.
///
/// # Errors
/// All that is in the way, each with its table, chain and policy and what to do.
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

/// Fails with all that is missing and how to get it.
///
/// # Errors
/// That.
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
    use crate::model::Stage;

    #[derive(Debug)]
    struct Silent;

    impl Progress for Silent {
        fn say(&self, _: &str) {}
        fn stage(&self, _: &str, _: Stage, _: &str) {}
        fn transfer(&self, _: &str, _: u64, _: Option<u64>) {}
        fn end(&self) {}
    }

    fn obstacle(certain: bool) -> Obstacle {
        Obstacle {
            place: "the nft table inet filter, chain forward (policy drop)".to_owned(),
            packets: vec!["from the nodes to the outside"],
            cure: "let them through".to_owned(),
            certain,
        }
    }

    #[test]
    fn a_network_that_would_be_dead_is_refused_unless_nodes_run_or_it_may_live() {
        let check = |certain, existing| check_obstacles(&[obstacle(certain)], existing, &Silent);
        let error = check(true, None).unwrap_err().to_string();
        assert!(error.contains("chain forward (policy drop)"), "{error}");
        assert!(check(false, None).is_ok());
        let mut record = crate::samples::record();
        record.phase = Phase::Up;
        assert!(check(true, Some(&record)).is_ok());
    }
}

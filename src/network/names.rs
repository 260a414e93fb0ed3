//! Registers the cluster's names with systemd-resolved. On hosts without it, ssh_config gives the addresses.

use anyhow::{Context, Result};
use kvmc_netns::dns::HostNames;
use nix::net::if_::if_nametoindex;

use crate::state::{ClusterRecord, NetworkRecord};

fn of(network: &NetworkRecord, domain: &str) -> HostNames {
    let (gateway, subnet) = (network.gateway.into(), network.subnet.into());
    HostNames::new(&network.bridge, gateway, domain, subnet)
}

/// Whether systemd-resolved has the names, or is not there to take them.
pub(crate) fn are_known(record: &ClusterRecord) -> bool {
    // A fork has the names of the first cluster, which the host keeps.
    if record.host.fork.is_some() || !HostNames::resolver_is_here() {
        return true;
    }
    // If it does not answer, it cannot be told either.
    link_exists(record.main())
        && of(record.main(), &record.spec.domain())
            .present()
            .unwrap_or(true)
}

fn link_exists(network: &NetworkRecord) -> bool {
    if_nametoindex(network.bridge.as_str()).is_ok()
}

/// Registers the cluster's names with systemd-resolved.
///
/// # Errors
/// Fails with resolvectl's words.
pub(crate) fn make(record: &ClusterRecord) -> Result<()> {
    of(record.main(), &record.spec.domain()).apply().context(
        "systemd-resolved does not accept the cluster's names, so this host cannot resolve them",
    )
}

/// Removes the names from systemd-resolved, if it has them.
///
/// # Errors
/// Fails with resolvectl's words.
pub(crate) fn remove(record: &ClusterRecord) -> Result<()> {
    let network = record.main();
    if !record.host.resolved || !link_exists(network) || !HostNames::resolver_is_here() {
        return Ok(());
    }
    of(network, "").remove().with_context(|| {
        format!(
            "cannot remove the names of {} from systemd-resolved",
            network.bridge
        )
    })
}

//! The cluster's names on the host, where systemd-resolved runs; elsewhere ssh_config serves.

use anyhow::{Context, Result};
use kvmc_netns::dns::HostNames;
use nix::net::if_::if_nametoindex;

use crate::state::{ClusterRecord, NetworkRecord};

fn of(network: &NetworkRecord, domain: &str) -> HostNames {
    let (gateway, subnet) = (network.gateway.into(), network.subnet.into());
    HostNames::new(&network.bridge, gateway, domain, subnet)
}

/// Whether there is nothing to do: systemd-resolved knows, or is not there.
pub(crate) fn are_known(record: &ClusterRecord) -> bool {
    if !HostNames::resolver_is_here() {
        return true;
    }
    // One that cannot be asked cannot be told either.
    link_exists(record.main())
        && of(record.main(), &record.spec.domain())
            .present()
            .unwrap_or(true)
}

fn link_exists(network: &NetworkRecord) -> bool {
    if_nametoindex(network.bridge.as_str()).is_ok()
}

/// Tells systemd-resolved.
///
/// # Errors
/// resolvectl's, with its words.
pub(crate) fn make(record: &ClusterRecord) -> Result<()> {
    of(record.main(), &record.spec.domain()).apply().context(
        "systemd-resolved does not take the cluster's names, so the host does not know them",
    )
}

/// Has systemd-resolved forget, if it was told and still has what it was told of.
///
/// # Errors
/// resolvectl's, with its words.
pub(crate) fn remove(record: &ClusterRecord) -> Result<()> {
    let network = record.main();
    if !record.host.resolved || !link_exists(network) || !HostNames::resolver_is_here() {
        return Ok(());
    }
    of(network, "")
        .remove()
        .with_context(|| format!("failed to have systemd-resolved forget {}", network.bridge))
}

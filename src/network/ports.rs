//! Checks whether the host's ports of forwards are free.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};
use kvmc_netns::firewall::Protocol;
use kvmc_netns::outside::run_outside;

use crate::hint::bail_with_hint;
use crate::spec::Forward;
use crate::state::namespace;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Refuses forwards whose port is in use on the host, except those in `mine`, which this cluster has already.
///
/// # Errors
/// Fails at the first port in use, and names its user or how to find it.
pub(crate) fn check_free(
    forwards: &[Forward],
    mine: &[Forward],
    record: &ClusterRecord,
    dir: &ClusterDir,
) -> Result<()> {
    let wanted: Vec<_> = forwards.iter().filter(|f| !mine.contains(f)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let here = run_outside(namespace)??;
    let others = dir.others().into_iter();
    // The verbs for its cluster report a record that cannot be read.
    let others = others
        .filter_map(|other| ClusterRecord::load(&other).ok().flatten())
        .filter(|r| r.phase != Phase::Stopped && r.outer_namespace() == here);
    for other in others {
        for forward in &wanted {
            if let Some(theirs) = other.forwards.iter().find(|f| f.collides(forward)) {
                bail_with_hint!(
                    "choose another port",
                    "forward `{forward}`: cluster `{}` forwards that port already (`{theirs}`)",
                    other.spec.name
                );
            }
        }
    }
    for forward in wanted {
        record.node(&forward.node)?;
        check_port(forward)?;
    }
    Ok(())
}

/// Binds the port for a moment, because only the kernel knows whether it is free.
fn check_port(forward: &Forward) -> Result<()> {
    let address = forward.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let at = SocketAddr::from((address, forward.port));
    let (taken, flag) = match forward.protocol {
        Protocol::Tcp => (run_outside(|| TcpListener::bind(at))?.map(drop), 't'),
        Protocol::Udp => (run_outside(|| UdpSocket::bind(at))?.map(drop), 'u'),
    };
    let (protocol, port) = (forward.protocol.name(), forward.port);
    match taken {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AddrInUse => bail_with_hint!(
            format!("`ss -{flag}lnp sport = :{port}` shows the program that has it"),
            "forward `{forward}`: {protocol} port {port} of this host is in use"
        ),
        Err(e) if e.kind() == ErrorKind::AddrNotAvailable => {
            bail!("forward `{forward}`: {address} is not an address of this host")
        }
        Err(e) => Err(e).with_context(|| format!("forward `{forward}`: {protocol} port {port}")),
    }
}

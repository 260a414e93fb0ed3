//! Whether the host's ports that forwards want are free.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context, Result, bail};
use kvmc_netns::firewall::Protocol;

use super::namespace::namespace;
use crate::spec::Forward;
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Refuses forwards whose port something else on the host has, but for those in `mine`, which are the
/// cluster's own already.
///
/// # Errors
/// The first of them, with who has the port, or how to find out.
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
    let here = namespace()?;
    let others = dir.others().into_iter();
    // A record that cannot be read is told of by the verbs that work on its cluster.
    let others = others
        .filter_map(|other| ClusterRecord::load(&other).ok().flatten())
        .filter(|r| r.phase != Phase::Stopped && r.host.namespace == here);
    for other in others {
        for forward in &wanted {
            if let Some(theirs) = other.forwards.iter().find(|f| f.collides(forward)) {
                bail!(
                    "forward {forward}: cluster `{}` forwards that port ({theirs}); use another",
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

/// By taking the port for a moment: only the kernel knows.
fn check_port(forward: &Forward) -> Result<()> {
    let address = forward.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let at = SocketAddr::from((address, forward.port));
    let (taken, flag) = match forward.protocol {
        Protocol::Tcp => (TcpListener::bind(at).map(drop), 't'),
        Protocol::Udp => (UdpSocket::bind(at).map(drop), 'u'),
    };
    let (protocol, port) = (forward.protocol.name(), forward.port);
    match taken {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AddrInUse => bail!(
            "forward {forward}: {protocol} port {port} of this host is in use; `ss -{flag}lnp sport = :{port}` names who has it"
        ),
        Err(e) if e.kind() == ErrorKind::AddrNotAvailable => {
            bail!("forward {forward}: {address} is no address of this host")
        }
        Err(e) => Err(e).with_context(|| format!("forward {forward}: {protocol} port {port}")),
    }
}

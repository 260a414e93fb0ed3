//! The subnet of a fork's link.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use kvmc_netns::{Links, range};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::failpoint::failpoint;
use crate::network::{forwarding, naming};
use crate::state::{ClusterDir, ClusterRecord};

/// The shortest subnet with two addresses for hosts.
const PREFIX: u8 = 30;
/// The number of the IPv6 prefix between both ends, which no network of the cluster has.
const NUMBER: u16 = u16::MAX;
/// Time between two tries to take the lock. Its holders only write a record.
const TRY: Duration = Duration::from_millis(20);

/// Chooses a subnet for the link and records it. Forks of one state folder choose one after the other.
///
/// # Errors
/// Fails if no subnet is free.
pub(super) async fn choose(
    record: &mut ClusterRecord,
    dir: &ClusterDir,
    links: &Links,
) -> Result<()> {
    let _lock = lock(dir).await?;
    let own = record.networks().map(|n| IpNetwork::V4(n.subnet));
    let mut taken: Vec<IpNetwork> = own.collect();
    taken.extend(links.addresses().await?.into_iter().map(|a| a.network));
    taken.extend(links.routes().await?.into_iter().map(|r| r.destination));
    for other in dir.others() {
        // The verbs for its cluster report a record that cannot be read.
        let Some(other) = ClusterRecord::load(&other).ok().flatten() else {
            continue;
        };
        taken.extend(other.networks().map(|n| IpNetwork::V4(n.subnet)));
        let transit = other.host.fork.and_then(|fork| fork.transit);
        taken.extend(transit.map(IpNetwork::V4));
    }
    let has_ipv6 = forwarding::has_ipv6(record);
    let cluster = record.spec.name.clone();
    let Some(fork) = &mut record.host.fork else {
        return Ok(());
    };
    let free = range::free_subnet(PREFIX, &taken);
    fork.transit = Some(free.context("no private /30 is free on this host for the fork's link")?);
    fork.transit6 = has_ipv6.then(|| naming::prefix6(&cluster, NUMBER));
    record.save(dir)?;
    failpoint!("fork.transit");
    Ok(())
}

/// The lock under which a subnet is chosen and recorded. It is on the folder of all clusters.
async fn lock(dir: &ClusterDir) -> Result<Flock<File>> {
    let path = dir.state().clusters();
    let mut folder = fs_err::File::open(&path)?.into_parts().0;
    loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) => folder = again,
            Err((_, e)) => {
                return Err(e).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        tokio::time::sleep(TRY).await;
    }
}

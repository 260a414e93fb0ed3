//! DHCP and router advertisements for one network of the cluster, on its bridge.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::{dhcp, ra};
use tokio::sync::mpsc;

use super::leases;
use super::reservations::{Reservations, excluded, reserved};
use super::status::Status;
use super::uplink;
use crate::output;
use crate::state::{ClusterDir, ClusterRecord, NetworkRecord};

/// DHCP's lease time. It is short, so that nodes learn of a changed path MTU within the hour.
const LEASE_TIME: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Lan {
    /// The network's index in the record, and the index of a node's NIC in it.
    number: usize,
    bridge: String,
    /// The bridge's MTU.
    mtu: u32,
    /// Nodes are told the uplink's MTU where that is smaller.
    follows_uplink: bool,
    server: dhcp::Server,
    leases: Option<dhcp::LeaseFile>,
    router: Option<ra::Server>,
    pub(super) reservations: Reservations,
}

impl Lan {
    /// Opens the sockets on the bridge of the network with this index, and reads its leases.
    ///
    /// # Errors
    /// Fails if a socket cannot be opened, for instance because port 67 is in use.
    pub(super) fn open(record: &ClusterRecord, number: usize, dir: &ClusterDir) -> Result<Self> {
        let network = record
            .networks()
            .nth(number)
            .context("the record has no network {number}")?;
        let server = dhcp::Server::bind(&network.bridge)?;
        let router = advertisement(network)
            .map(|a| ra::Server::bind(&network.bridge, &a))
            .transpose()?;
        let mut table = dhcp::Table::new(
            config(network, &record.spec.domain()),
            reserved(record, number),
        );
        table.exclude(excluded(record));
        let (leases, problem) = dhcp::LeaseFile::load(lease_file(dir, network), &mut table);
        if let Some(problem) = problem {
            // stderr goes to keeper.log.
            output::error(&problem.into());
        }
        Ok(Self {
            number,
            bridge: network.bridge.clone(),
            mtu: network.mtu,
            follows_uplink: record.spec.lan.mtu.is_none(),
            server,
            leases: Some(leases),
            router,
            reservations: Reservations::new(number, table),
        })
    }

    /// Serves until an error.
    ///
    /// # Errors
    /// Fails if a socket fails for good, for instance because the bridge was removed.
    pub(super) async fn run(self, status: Status) -> Result<()> {
        let (events, heard) = mpsc::channel(64);
        let reservations = self.reservations.clone();
        let uplink = async {
            if self.follows_uplink {
                uplink::follow(self.mtu, reservations).await;
            }
        };
        let table = self.reservations.table();
        let follow = leases::follow(heard, status, self.number == 0);
        let advertise = async {
            match self.router {
                Some(router) => router.run().await,
                None => std::future::pending().await,
            }
        };
        let ended: Result<()> = tokio::select! {
            ended = self.server.run(table, events, self.leases) => ended.map_err(Into::into),
            ended = advertise => ended.map_err(Into::into),
            () = follow => Ok(()),
            () = async { uplink.await; std::future::pending().await } => Ok(()),
        };
        ended.with_context(|| format!("the keeper no longer serves the network on {}", self.bridge))
    }
}

/// Each network has its own lease file, because an address is leased in one network.
fn lease_file(dir: &ClusterDir, network: &NetworkRecord) -> PathBuf {
    if network.is_main() {
        return dir.leases();
    }
    let mut path = dir.leases().into_os_string();
    path.push(format!("-{}", network.name));
    path.into()
}

/// Only the main network has a default route. With a second one, a node would answer through the wrong NIC.
fn config(network: &NetworkRecord, domain: &str) -> dhcp::Config {
    let is_main = network.is_main();
    dhcp::Config {
        server: network.gateway,
        subnet: network.subnet,
        router: is_main.then_some(network.gateway),
        dns: network.dns.clone(),
        domain: is_main.then(|| domain.to_owned()),
        mtu: u16::try_from(network.mtu).ok(),
        lease_time: LEASE_TIME,
        routes: Vec::new(),
        probe: true,
    }
}

/// The IPv6 router advertisement of a network, if it has IPv6. The main network's also names the resolver, for
/// machines without DHCP.
fn advertisement(network: &NetworkRecord) -> Option<ra::Advertisement> {
    Some(ra::Advertisement {
        mac: network.mac,
        prefix: network.prefix6?,
        mtu: network.mtu,
        is_router: network.is_main(),
        dns: network
            .gateway6()
            .filter(|_| network.is_main())
            .into_iter()
            .collect(),
    })
}

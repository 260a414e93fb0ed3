//! The services of one of the cluster's networks, on its bridge.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::{dhcp, ra};
use tokio::sync::mpsc;

use super::leases;
use super::reservations::{Reservations, reserved};
use super::status::Status;
use super::uplink;
use crate::output;
use crate::state::{ClusterDir, ClusterRecord, NetworkRecord};

/// DHCP's lease time: short enough that a change of the uplink's MTU is heard within the hour.
const LEASE_TIME: Duration = Duration::from_secs(3600);

/// One network, served.
#[derive(Debug)]
pub(super) struct Lan {
    /// Its place among the networks, and that of a node's NIC in it.
    number: usize,
    bridge: String,
    /// The bridge's MTU.
    mtu: u32,
    server: dhcp::Server,
    leases: Option<dhcp::LeaseFile>,
    router: Option<ra::Server>,
    pub(super) reservations: Reservations,
}

impl Lan {
    /// Opens the sockets on the bridge of the network of this number, and takes its leases over.
    ///
    /// # Errors
    /// That port 67 is taken, or the system's.
    pub(super) fn open(record: &ClusterRecord, number: usize, dir: &ClusterDir) -> Result<Self> {
        let network = record
            .networks()
            .nth(number)
            .context("a network that is not in the record")?;
        let server = dhcp::Server::bind(&network.bridge)?;
        let router = advertisement(network)
            .map(|a| ra::Server::bind(&network.bridge, &a))
            .transpose()?;
        let mut table = dhcp::Table::new(
            config(network, &record.spec.domain()),
            reserved(record, number),
        );
        let (leases, problem) = dhcp::LeaseFile::load(lease_file(dir, network), &mut table);
        if let Some(problem) = problem {
            // Into keeper.log: stderr leads there.
            output::error(&problem.into());
        }
        Ok(Self {
            number,
            bridge: network.bridge.clone(),
            mtu: network.mtu,
            server,
            leases: Some(leases),
            router,
            reservations: Reservations::new(number, table),
        })
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// That a socket failed for good, as when the bridge is gone.
    pub(super) async fn run(self, status: Status) -> Result<()> {
        let (events, heard) = mpsc::channel(64);
        let uplink = uplink::follow(self.mtu, self.reservations.clone());
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
        ended.with_context(|| format!("the network on {} is served no more", self.bridge))
    }
}

/// Each network has a file of its own: an address is leased in one of them.
fn lease_file(dir: &ClusterDir, network: &NetworkRecord) -> PathBuf {
    if network.is_main() {
        return dir.leases();
    }
    let mut path = dir.leases().into_os_string();
    path.push(format!("-{}", network.name));
    path.into()
}

/// Only the main network leads anywhere: with a second default route a node would answer by the wrong
/// NIC.
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

/// What nodes are told of IPv6, where a network has it. The resolver too, for machines that have no DHCP; of the main
/// network's alone, as by DHCP.
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

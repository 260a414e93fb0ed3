//! The cluster's DNS: makes a zone from the record, and serves it on every network's bridge.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;
use kvmc_netns::dns::{
    CutOff, Exceptions, HostResolvers, Resolvers, Responder, Server, Service, Zone, ZoneSpec,
    parse_domain, parse_exception,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::status::Status;
use crate::model::EventKind;
use crate::spec::{BALANCERS, ClusterSpec};
use crate::state::{ClusterDir, ClusterRecord, NetworkRecord, NodeRecord};

/// The name server of a cluster. All clones share one.
#[derive(Debug, Clone)]
pub(super) struct Names {
    service: Arc<Service>,
}

impl Names {
    /// Opens the sockets on all bridges; [`Self::serve`] takes them.
    ///
    /// # Errors
    /// Fails if a socket cannot be opened. If port 53 is in use, the error says by which program.
    pub(super) fn open(
        record: &ClusterRecord,
        dir: &ClusterDir,
        status: Status,
    ) -> Result<(Self, Vec<Server>)> {
        let mut servers = Vec::new();
        for network in record.networks() {
            let v4 = IpNetwork::new(network.gateway.into(), network.subnet.prefix())?;
            let v6 = network.gateway6().zip(network.prefix6);
            let v6 = v6.map(|(gateway, p)| IpNetwork::new(gateway.into(), p.prefix()));
            for range in [Some(v4), v6.transpose()?].into_iter().flatten() {
                servers.push(Server::bind(&network.bridge, range, !network.isolated)?);
            }
        }
        let responder = Responder::new(zone(record)?, ranges(record));
        let (told, heard) = mpsc::channel(8);
        let host = HostResolvers::of_this_host({
            let dir = dir.clone();
            move || gateways(&dir)
        });
        let service = Arc::new(Service::new(responder, host, told));
        tokio::spawn(note_resolvers(heard, status));
        Ok((Self { service }, servers))
    }

    /// Serves the names of this record from now on.
    pub(super) fn follow(&self, record: &ClusterRecord) {
        // The names in a record were checked when it was made.
        if let Ok(zone) = zone(record) {
            self.service.set_zone(zone);
        }
    }

    /// The suffixes of names that were cut off, why, and when that was last.
    pub(super) fn cut_off(&self) -> Vec<(String, CutOff, SystemTime)> {
        self.service.cut_off()
    }

    /// Serves until an error.
    ///
    /// # Errors
    /// Fails if a socket fails for good.
    pub(super) async fn serve(self, servers: Vec<Server>) -> Result<()> {
        let mut serving = JoinSet::new();
        for server in servers {
            serving.spawn(server.run(Arc::clone(&self.service)));
        }
        match serving.join_next().await {
            Some(ended) => Ok(ended.context("a task of the keeper panicked")??),
            None => Ok(()),
        }
    }
}

/// Logs an event each time that the upstream resolvers change.
async fn note_resolvers(mut heard: mpsc::Receiver<Arc<Resolvers>>, status: Status) {
    while let Some(resolvers) = heard.recv().await {
        let all = |of: Vec<String>| of.join(", ");
        let servers = all(resolvers
            .servers
            .iter()
            .map(|s| s.ip().to_string())
            .collect());
        let loops = all(resolvers.loops.iter().map(ToString::to_string).collect());
        let mut note = if servers.is_empty() {
            "the host has no resolver, so only names of the cluster resolve".to_owned()
        } else {
            format!("questions about other names go to {servers}")
        };
        if !loops.is_empty() {
            note += &format!(
                "; {loops} in the host's resolv.conf is kvmc's own server and is left out, because it would loop"
            );
        }
        status.event("", EventKind::Resolvers, &note);
    }
}

/// Addresses where clusters of this host serve DNS. As upstream resolvers, they would ask each other in a loop.
fn gateways(dir: &ClusterDir) -> Vec<IpAddr> {
    let all = dir.others().into_iter().chain([dir.clone()]);
    all.filter_map(|dir| ClusterRecord::load(&dir).ok().flatten())
        .flat_map(|r| {
            let of = |n: &NetworkRecord| [Some(n.gateway.into()), n.gateway6().map(Into::into)];
            r.networks().flat_map(of).flatten().collect::<Vec<_>>()
        })
        .collect()
}

/// All subnets and prefixes of the cluster.
fn ranges(record: &ClusterRecord) -> Vec<IpNetwork> {
    record
        .networks()
        .flat_map(|n| {
            [Some(n.subnet.into()), n.prefix6.map(Into::into)]
                .into_iter()
                .flatten()
        })
        .collect()
}

fn zone(record: &ClusterRecord) -> Result<Zone> {
    let domain = parse_domain(&record.spec.domain())?;
    let records = record.spec.records(&domain).map_err(anyhow::Error::msg)?;
    let main = record.main();
    let mut hosts = Vec::new();
    let mut balancers = Vec::new();
    for node in &record.nodes {
        for (network, nic) in record.nics(node) {
            let mut addresses = vec![IpAddr::from(nic.address)];
            addresses.extend(network.address6(nic.mac).map(IpAddr::from));
            let name = if network.is_main() {
                if is_balancer(&record.spec, node) {
                    balancers.extend(addresses.clone());
                }
                node.name.clone()
            } else {
                format!("{}.{}", node.name, network.name)
            };
            hosts.push((name, addresses));
        }
    }
    let gateway = [Some(main.gateway.into()), main.gateway6().map(Into::into)];
    let spec = ZoneSpec {
        domain,
        gateway: gateway.into_iter().flatten().collect(),
        subnets: ranges(record),
        hosts,
        balancers,
        records,
        serial: u32::try_from(record.generation).unwrap_or(u32::MAX),
    };
    let names = |texts: &[String]| -> Result<Vec<_>, _> {
        let names = texts.iter().map(|text| parse_exception(text));
        names.collect()
    };
    let exceptions = Exceptions {
        forward: names(&record.spec.dns.forward)?,
        rebind_ok: names(&record.spec.dns.rebind_ok)?,
    };
    Ok(Zone::new(&spec)?.with_exceptions(exceptions))
}

/// Whether a node is a load balancer of the cluster, by its inventory group.
fn is_balancer(spec: &ClusterSpec, node: &NodeRecord) -> bool {
    let role = spec.role(&node.role);
    role.is_some_and(|role| role.groups.iter().any(|g| g == BALANCERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_makes_a_zone() {
        let mut record = crate::samples::record();
        assert!(zone(&record).is_ok());
        record.spec.dns = crate::spec::DnsSpec::for_test("api A 192.168.80.200");
        let text = format!("{:?}", zone(&record).unwrap());
        for word in ["192.168.80.200", "master2", "gateway"] {
            assert!(text.contains(word), "{word}");
        }
        let range: IpNetwork = "192.168.80.0/24".parse().unwrap();
        assert_eq!(ranges(&record), [range]);
    }
}

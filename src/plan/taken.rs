//! Chooses what no two nodes may share: user ids, MAC addresses and IP addresses.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result};
use kvmc_netns::MacAddr;

use crate::ids::{mac, uid};
use crate::network::tap_name;
use crate::spec::{ClusterSpec, RoleSpec};
use crate::state::{NetworkRecord, NicRecord, NodeRecord, RestingNode};

/// The ids and addresses that nodes and networks have already.
pub(super) struct Taken {
    pub(super) addresses: HashSet<Ipv4Addr>,
    macs: HashSet<MacAddr>,
    uids: HashSet<u32>,
    /// Addresses of removed nodes.
    pub(super) resting: Vec<RestingNode>,
}

impl Taken {
    pub(super) fn by(nodes: &[NodeRecord], networks: &[NetworkRecord]) -> Self {
        let nics = || nodes.iter().flat_map(|n| &n.nics);
        let bridges = networks.iter().map(|n| n.mac);
        Self {
            addresses: nics().map(|nic| nic.address).collect(),
            macs: nics().map(|nic| nic.mac).chain(bridges).collect(),
            uids: nodes.iter().map(|n| n.uid).collect(),
            resting: Vec::new(),
        }
    }

    /// A user id for a new node's QEMU.
    pub(super) fn uid(&mut self, dir: &Path, node: &str) -> Result<u32> {
        let free = (0..1024)
            .map(|n| uid(dir, n))
            .find(|u| !self.uids.contains(u));
        let uid = free.with_context(|| format!("no user id is free for {node}"))?;
        self.uids.insert(uid);
        Ok(uid)
    }

    /// A new node's NICs, that in the main network first.
    pub(super) fn nics(
        &mut self,
        spec: &ClusterSpec,
        networks: &[NetworkRecord],
        role: &RoleSpec,
        node: &str,
    ) -> Result<Vec<NicRecord>> {
        let mine = networks
            .iter()
            .filter(|n| n.is_main() || role.is_in(&n.name));
        let nics = mine.map(|network| self.nic(spec, network, node)).collect();
        self.resting.retain(|r| r.name != node);
        nics
    }

    /// A new node's address: the one that rests for its name, else one that nobody had, else the one that rests the
    /// longest.
    fn address(
        &mut self,
        spec: &ClusterSpec,
        network: &NetworkRecord,
        node: &str,
    ) -> Option<Ipv4Addr> {
        let subnet = network.subnet;
        let is_free = |address: &Ipv4Addr| {
            *address != subnet.network()
                && *address != subnet.broadcast()
                && *address != network.gateway
                && subnet.contains(*address)
                && !spec.is_reserved(*address)
                && !self.addresses.contains(address)
        };
        let resting: Vec<_> = self
            .resting
            .iter()
            .flat_map(|r| r.nics.iter().map(move |nic| (&r.name, nic)))
            .filter(|(_, nic)| nic.network == network.name && is_free(&nic.address))
            .map(|(name, nic)| (name == node, nic.address))
            .collect();
        let own = resting.iter().find(|(is_own, _)| *is_own);
        let rests = |address: &Ipv4Addr| resting.iter().any(|(_, a)| a == address);
        let found = own.map(|(_, address)| *address).or_else(|| {
            let mut all = subnet.iter().skip(2);
            all.find(|a| is_free(a) && !rests(a))
                .or_else(|| resting.first().map(|(_, address)| *address))
        })?;
        for node in &mut self.resting {
            node.nics
                .retain(|nic| nic.network != network.name || nic.address != found);
        }
        self.resting.retain(|r| !r.nics.is_empty());
        Some(found)
    }

    fn nic(
        &mut self,
        spec: &ClusterSpec,
        network: &NetworkRecord,
        node: &str,
    ) -> Result<NicRecord> {
        let given = spec.given_address(node).filter(|_| network.is_main());
        let address = given
            .or_else(|| self.address(spec, network, node))
            .with_context(|| format!("no address is free in {} for {node}", network.subnet))?;
        let thing = if network.is_main() {
            node.to_owned()
        } else {
            format!("{node} in {}", network.name)
        };
        let mac = (0..)
            .map(|n| mac(&spec.name, &thing, n))
            .find(|m| !self.macs.contains(m))
            .with_context(|| format!("no MAC address is free for {node}"))?;
        self.addresses.insert(address);
        self.macs.insert(mac);
        Ok(NicRecord {
            network: network.name.clone(),
            address,
            mac,
            tap: tap_name(&network.bridge, node),
        })
    }
}

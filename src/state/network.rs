//! The record of a cluster's networks.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use kvmc_netns::MacAddr;
use serde::{Deserialize, Serialize};

use crate::spec::MAIN;

/// The recorded host objects of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// Unique in the cluster.
    pub(crate) name: String,
    pub(crate) bridge: String,
    pub(crate) mac: MacAddr,
    pub(crate) subnet: Ipv4Network,
    /// The host's address on the bridge, as router and DHCP server.
    pub(crate) gateway: Ipv4Addr,
    pub(crate) mtu: u32,
    /// The bridge passes LLDP frames on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lldp: bool,
    /// Its nodes reach no other network.
    #[serde(default)]
    pub(crate) isolated: bool,
    /// The prefix of its nodes' IPv6 addresses; `None` without IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix6: Option<Ipv6Network>,
    /// The name of its nft table.
    pub(crate) table: String,
    pub(crate) dns: Vec<Ipv4Addr>,
}

impl NetworkRecord {
    /// Whether it gives nodes their default route and DNS.
    pub(crate) fn is_main(&self) -> bool {
        self.name == MAIN
    }

    /// The host's IPv6 address on the bridge, the first of the prefix.
    pub(crate) fn gateway6(&self) -> Option<Ipv6Addr> {
        let prefix = self.prefix6?;
        Some(Ipv6Addr::from(u128::from(prefix.network()) | 1))
    }

    /// The address that a node with this NIC forms in the prefix: RFC 4862, from the NIC's Ethernet address by RFC
    /// 4291 appendix A.
    pub(crate) fn address6(&self, mac: MacAddr) -> Option<Ipv6Addr> {
        let prefix = self.prefix6?;
        let [a, b, c, d, e, f] = mac.octets();
        let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        Some(Ipv6Addr::from(
            u128::from(prefix.network()) | u128::from(interface),
        ))
    }
}

/// The networks of a cluster, always at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<NetworkRecord>", into = "Vec<NetworkRecord>")]
pub(crate) struct Networks {
    main: NetworkRecord,
    others: Vec<NetworkRecord>,
}

impl Networks {
    pub(crate) const fn main(&self) -> &NetworkRecord {
        &self.main
    }

    /// All networks, the main one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &NetworkRecord> {
        std::iter::once(&self.main).chain(&self.others)
    }

    #[cfg(test)]
    pub(crate) const fn main_mut(&mut self) -> &mut NetworkRecord {
        &mut self.main
    }
}

impl TryFrom<Vec<NetworkRecord>> for Networks {
    type Error = &'static str;

    fn try_from(all: Vec<NetworkRecord>) -> Result<Self, Self::Error> {
        let mut all = all.into_iter();
        let main = all.next().ok_or("the cluster has no network")?;
        let others = all.collect();
        Ok(Self { main, others })
    }
}

impl From<Networks> for Vec<NetworkRecord> {
    fn from(networks: Networks) -> Self {
        let Networks { main, others } = networks;
        std::iter::once(main).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_id_is_derived_from_the_mac_as_in_rfc_4291() {
        let mut network = crate::samples::record().main().clone();
        network.prefix6 = Some("fd00:1:2:3::/64".parse().unwrap());
        let address = network.address6("34:56:78:9a:bc:de".parse().unwrap());
        assert_eq!(
            address.unwrap().to_string(),
            "fd00:1:2:3:3656:78ff:fe9a:bcde"
        );
        assert_eq!(network.gateway6().unwrap().to_string(), "fd00:1:2:3::1");
    }

    #[test]
    fn a_cluster_without_a_network_is_refused() {
        assert!(serde_json::from_str::<Networks>("[]").is_err());
    }
}

//! Which addresses of a cluster's networks are reserved, and checks of that.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::cluster::ClusterSpec;
use super::lan::AddressRange;

impl ClusterSpec {
    /// Whether no node and no DHCP client gets this address.
    pub(crate) fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.lan.shared().any(|range| range.contains(address))
    }

    /// How many of the addresses for nodes in a subnet are reserved.
    pub(super) fn reserved_in(&self, subnet: Ipv4Network) -> u64 {
        if self.lan.shared().next().is_none() {
            return 0;
        }
        let nodes = subnet.iter().skip(2);
        let nodes = nodes.filter(|a| *a != subnet.broadcast() && self.is_reserved(*a));
        u64::try_from(nodes.count()).unwrap_or(u64::MAX)
    }

    /// Refuses reserved ranges outside the cluster's networks, and such with the host's own address.
    ///
    /// # Errors
    /// The first of them.
    pub(super) fn check_reserved(&self) -> Result<(), String> {
        let networks = self.networks.iter().map(|n| n.subnet);
        let subnets: Vec<_> = networks.chain([self.subnet]).collect();
        for range in &self.lan.reserved {
            let holds = |s: &&Ipv4Network| s.contains(range.first) && s.contains(range.last);
            let Some(subnet) = subnets.iter().find(holds) else {
                let all: Vec<_> = subnets.iter().rev().map(ToString::to_string).collect();
                return Err(format!(
                    "{range} is in no network of the cluster; expected addresses in {}",
                    all.join(" or ")
                ));
            };
            check_host(range, *subnet)?;
        }
        Ok(())
    }

    /// Refuses floating ranges with the host's own address in a network of the cluster.
    ///
    /// # Errors
    /// The first of them.
    pub(super) fn check_floating(&self) -> Result<(), String> {
        let networks = self.networks.iter().map(|n| n.subnet);
        for subnet in networks.chain([self.subnet]) {
            for range in &self.lan.floating {
                check_host(range, subnet)?;
            }
        }
        Ok(())
    }
}

fn check_host(range: &AddressRange, subnet: Ipv4Network) -> Result<(), String> {
    let host = subnet.iter().nth(1);
    match host.filter(|host| range.contains(*host)) {
        Some(host) => Err(format!("{range} holds {host}, the host's own address")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Key, Layer, Settings, Source, check};
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Result<ClusterSpec, String> {
        let mut layer = Layer::default();
        for (key, value) in settings {
            let source = Source::Flag("--x".to_owned());
            layer.set_text(Key::parse(key).unwrap(), value, source);
        }
        check(&Settings::resolve([layer])).map_err(|e| e.to_string())
    }

    #[test]
    fn reserved_addresses_are_ranges_blocks_or_single_ones() {
        let text = "192.168.80.200-192.168.80.250 192.168.80.16/28,192.168.80.7";
        let spec = with(&[("network.reserved", text)]).unwrap();
        let reserved = |end: u8| spec.is_reserved(Ipv4Addr::new(192, 168, 80, end));
        for (end, is) in [
            (6, false),
            (7, true),
            (8, false),
            (16, true),
            (31, true),
            (32, false),
            (200, true),
            (250, true),
            (251, false),
        ] {
            assert_eq!(reserved(end), is, "{end}");
        }
        assert_eq!(spec.reserved_in(spec.subnet), 51 + 16 + 1);
    }

    #[test]
    fn what_cannot_be_reserved_is_refused() {
        for (value, expected) in [
            (
                "192.168.80.250-192.168.80.200",
                "192.168.80.200 comes before 192.168.80.250",
            ),
            (
                "192.168.81.0-192.168.81.9",
                "in no network of the cluster; expected addresses in 192.168.80.0/24",
            ),
            (
                "192.168.80.1-192.168.80.9",
                "holds 192.168.80.1, the host's own address",
            ),
            ("200-250", "is not a range of addresses"),
            ("192.168.80.5-192.168.80.254", "7 nodes do not fit"),
        ] {
            let error = with(&[("network.reserved", value)]).unwrap_err();
            assert!(error.contains(expected), "{value}: {error}");
        }
        let beside = [
            ("networks", "name=a,subnet=10.81.0.0/24"),
            ("network.reserved", "10.81.0.9"),
        ];
        assert!(with(&beside).is_ok());
    }

    #[test]
    fn floating_addresses_are_reserved_and_may_be_of_other_networks() {
        let spec = with(&[("network.floating", "192.168.80.200-250 10.244.0.0/16")]).unwrap();
        assert!(spec.is_reserved(Ipv4Addr::new(192, 168, 80, 250)));
        assert!(!spec.is_reserved(Ipv4Addr::new(192, 168, 80, 199)));
        assert_eq!(spec.lan.shared().count(), 2);
        assert_eq!(spec.reserved_in(spec.subnet), 51);
        let error = with(&[("network.floating", "192.168.80.200-199")]).unwrap_err();
        assert!(error.contains("comes before"), "{error}");
        let error = with(&[("network.floating", "192.168.80.1-3")]).unwrap_err();
        assert!(
            error.contains("192.168.80.1, the host's own address"),
            "{error}"
        );
    }

    #[test]
    fn an_mtu_is_a_number_that_links_take() {
        assert_eq!(
            with(&[("network.mtu", "9000")]).unwrap().lan.mtu,
            Some(9000)
        );
        assert_eq!(with(&[("network.mtu", "auto")]).unwrap().lan.mtu, None);
        for (value, ipv6, expected) in [
            ("68", "false", "expected auto or 576 to 65521 bytes"),
            ("jumbo", "false", "`jumbo` is not an MTU"),
            ("1279", "true", "IPv6 needs 1280"),
        ] {
            let error = with(&[("network.mtu", value), ("network.ipv6", ipv6)]).unwrap_err();
            assert!(error.contains(expected), "{value}: {error}");
        }
    }

    #[test]
    fn nobody_reaches_an_isolated_network() {
        let error = with(&[
            ("network.reach_from", "docker0"),
            ("network.isolated", "true"),
        ]);
        assert!(error.unwrap_err().contains("the network is isolated"));
        let error = with(&[("network.reach_from", "no/link")]).unwrap_err();
        assert!(error.contains("network.reach_from"), "{error}");
    }
}

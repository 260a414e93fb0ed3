//! Port forwards from the host to a guest, as nft rules.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};

use crate::Protocol;

/// A port of the host that is forwarded to a port of a guest.
///
/// It does not serve the host's loopback addresses: a guest cannot answer a packet that comes from there, so a process has
/// to relay it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The host's address; none for all addresses.
    pub address: Option<Ipv4Addr>,
    /// The port on the host.
    pub port: u16,
    /// The guest's address.
    pub to: Ipv4Addr,
    /// The guest's IPv6 address, if it has one; used only where `address` is none.
    pub to6: Option<Ipv6Addr>,
    /// The port on the guest.
    pub to_port: u16,
}

impl Forward {
    /// The DNAT rules for packets that the host receives or sends.
    pub(super) fn translations(&self) -> Vec<String> {
        let Self {
            protocol,
            port,
            to,
            to_port,
            ..
        } = self;
        let protocol = protocol.name();
        let to_the_host = match self.address {
            Some(address) if address.is_loopback() => return Vec::new(),
            Some(address) => format!("ip daddr {address}"),
            None => "ip daddr != 127.0.0.0/8 fib daddr type local".to_owned(),
        };
        let mut rules = vec![format!(
            "{to_the_host} {protocol} dport {port} dnat ip to {to}:{to_port}"
        )];
        if let (None, Some(to)) = (self.address, self.to6) {
            rules.push(format!(
                "ip6 daddr != ::1 fib daddr type local {protocol} dport {port} dnat ip6 to [{to}]:{to_port}"
            ));
        }
        rules
    }
}

/// The rules that translate the source of a guest's packets to another guest through the host's port, so that the answers
/// come back by way of the host.
pub(super) fn hairpin(
    bridge: &str,
    subnet: Ipv4Network,
    prefix6: Option<Ipv6Network>,
) -> Vec<String> {
    let second = prefix6.map(|prefix| format!("ip6 saddr {prefix}"));
    [Some(format!("ip saddr {subnet}")), second]
        .into_iter()
        .flatten()
        .map(|from| format!(r#"oifname "{bridge}" {from} ct status dnat masquerade"#))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_rule_and_loopback_none() {
        let forward = Forward {
            protocol: Protocol::Udp,
            address: None,
            port: 5353,
            to: "192.168.80.8".parse().unwrap(),
            to6: Some("fd00:1:2:3::8".parse().unwrap()),
            to_port: 53,
        };
        assert_eq!(
            forward.translations(),
            [
                "ip daddr != 127.0.0.0/8 fib daddr type local udp dport 5353 dnat ip to 192.168.80.8:53",
                "ip6 daddr != ::1 fib daddr type local udp dport 5353 dnat ip6 to [fd00:1:2:3::8]:53",
            ]
        );
        let on = |address: &str| Forward {
            address: Some(address.parse().unwrap()),
            ..forward.clone()
        };
        assert_eq!(
            on("192.0.2.1").translations(),
            ["ip daddr 192.0.2.1 udp dport 5353 dnat ip to 192.168.80.8:53"]
        );
        assert!(on("127.0.0.1").translations().is_empty());
    }
}

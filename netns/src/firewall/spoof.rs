//! What a guest may send: from its own addresses only, and no answers that are the host's to give. An nft table of the
//! family `bridge`, beside our own table and of its name, because packets between ports of a bridge pass no other.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::{ExecError, MacAddr, exec};

/// Broadcasts and multicasts of one guest, a second and at once. All guests of a bridge and the host must look at each.
const MOST: &str = "2000/second burst 4000 packets";

/// A guest's port of the bridge, and what it may send there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name of its tap.
    pub tap: String,
    /// The guest's Ethernet address.
    pub mac: MacAddr,
    /// The guest's IPv4 address.
    pub address: Ipv4Addr,
    /// The guest's IPv6 address, if the network has a prefix.
    pub address6: Option<Ipv6Addr>,
}

impl Port {
    /// The address on its link that a guest forms from its Ethernet address, RFC 4291 appendix A.
    fn link_local(&self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.mac.octets();
        let interface = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
        Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(interface))
    }

    fn addresses6(&self) -> Vec<Ipv6Addr> {
        let global = self.address6.into_iter();
        std::iter::once(self.link_local()).chain(global).collect()
    }

    /// The rules for what comes from this port.
    fn rules(&self, guard: &Guard<'_>) -> Vec<String> {
        let mac = self.mac;
        let mut rules = vec![
            format!("ether saddr != {mac} drop"),
            format!("meta pkttype {{ broadcast, multicast }} limit rate over {MOST} drop"),
            // Linux takes a frame of VLAN 0 for one without a VLAN.
            "ether type 8021q vlan id 0 drop".to_owned(),
            "ether type 8021ad drop".to_owned(),
            format!("ether type arp arp saddr ether != {mac} drop"),
        ];
        rules.extend(self.arp_and_ipv4(guard));
        rules.extend(self.ipv6());
        rules
    }

    fn arp_and_ipv4(&self, guard: &Guard<'_>) -> Vec<String> {
        let address = self.address;
        let mut rules = vec![
            // Of a guest that looks whether an address is free, RFC 5227.
            format!("ether type arp arp saddr ip {{ {address}, 0.0.0.0 }} accept"),
            "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept".to_owned(),
            "ip saddr 0.0.0.0 ip protocol igmp accept".to_owned(),
            "ether type ip udp sport 67 drop".to_owned(),
            format!("ip saddr {address} accept"),
        ];
        if let (Some(taken), Some(floating)) = (guard.taken(), guard.floating()) {
            for place in ["ether type arp arp saddr ip", "ip saddr"] {
                rules.push(format!("{place} {taken} drop"));
                rules.push(format!("{place} {floating} accept"));
            }
        }
        rules.extend(["arp", "ip"].map(|kind| format!("ether type {kind} drop")));
        rules
    }

    fn ipv6(&self) -> Vec<String> {
        let own = self.addresses6();
        let list: Vec<_> = own.iter().map(ToString::to_string).collect();
        // The target of an advertisement is 8 bytes into it, RFC 4861 section 4.4.
        let others = own
            .iter()
            .map(|a| format!("@th,64,128 != {:#034x}", u128::from(*a)));
        let others: Vec<_> = others.collect();
        vec![
            "icmpv6 type { nd-router-advert, nd-redirect } drop".to_owned(),
            format!("icmpv6 type nd-neighbor-advert {} drop", others.join(" ")),
            "ether type ip6 udp sport 547 drop".to_owned(),
            // Of a guest that looks whether an address is free, and that joins groups, RFC 4862 and RFC 3810.
            "ip6 saddr :: meta l4proto ipv6-icmp accept".to_owned(),
            format!("ip6 saddr {{ {} }} accept", list.join(", ")),
            "ether type ip6 drop".to_owned(),
        ]
    }
}

/// All ports of a bridge that are guarded, and the addresses that their guests share.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    /// The table's name.
    pub(super) name: &'a str,
    pub(super) ports: &'a [Port],
    /// Ranges of addresses that any guest may take.
    pub(super) floating: &'a [(Ipv4Addr, Ipv4Addr)],
    /// The host's address on the bridge.
    pub(super) gateway: Ipv4Addr,
    /// Changes with everything that the network's tables say.
    pub(super) digest: &'a str,
}

impl Guard<'_> {
    /// The text for nft(8), which replaces the table. Without ports there is none.
    pub(super) fn render(&self) -> String {
        let mut text = removal(self.name);
        if self.ports.is_empty() {
            return text;
        }
        let _ok = writeln!(text, "table bridge {} {{", self.name);
        for (chain, head, rules) in self.chains() {
            let _ok = writeln!(text, "\tchain {chain} {{\n\t\t{head}");
            for rule in rules {
                let _ok = writeln!(text, "\t\t{rule}");
            }
            text.push_str("\t}\n");
        }
        text + "}\n"
    }

    /// The chains: one that only has a name, one for each port, and the one that all frames pass.
    fn chains(&self) -> Vec<(String, &'static str, Vec<String>)> {
        let mut chains = vec![(format!("is_{}", self.digest), "", Vec::new())];
        let numbers = || (0..).zip(self.ports);
        chains.extend(numbers().map(|(n, port)| (format!("port{n}"), "", port.rules(self))));
        let jumps = numbers().map(|(n, port)| format!("\"{}\" : jump port{n}", port.tap));
        let jumps: Vec<_> = jumps.collect();
        chains.push((
            "prerouting".to_owned(),
            // Before br_netfilter hands packets to the rules of others.
            "type filter hook prerouting priority -300; policy accept;",
            vec![format!("iifname vmap {{ {} }}", jumps.join(", "))],
        ));
        chains
    }

    /// The addresses that belong to somebody, in any range.
    fn taken(&self) -> Option<String> {
        let nodes = self.ports.iter().map(|p| p.address);
        let all: Vec<_> = nodes.chain([self.gateway]).map(|a| a.to_string()).collect();
        (!all.is_empty()).then(|| format!("{{ {} }}", all.join(", ")))
    }

    fn floating(&self) -> Option<String> {
        let range = |(first, last): &(Ipv4Addr, Ipv4Addr)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let all: Vec<_> = merged(self.floating).iter().map(range).collect();
        (!all.is_empty()).then(|| format!("{{ {} }}", all.join(", ")))
    }

    /// Whether nft's JSON has the table as it is to be.
    pub(super) fn is_whole_in(&self, listing: &Value) -> bool {
        let objects = listing.get("nftables").and_then(Value::as_array);
        let text = |o: &Value, key: &str| o.get(key).and_then(Value::as_str).map(str::to_owned);
        let of_ours = |kind: &'static str| {
            let objects = objects
                .into_iter()
                .flatten()
                .filter_map(move |o| o.get(kind));
            objects.filter(|o| {
                text(o, "family").as_deref() == Some("bridge")
                    && text(o, "table").as_deref() == Some(self.name)
            })
        };
        if self.ports.is_empty() {
            return of_ours("chain").next().is_none();
        }
        self.chains().iter().all(|(chain, _, rules)| {
            let is_there = of_ours("chain").any(|c| text(c, "name").as_ref() == Some(chain));
            let count = of_ours("rule").filter(|r| text(r, "chain").as_ref() == Some(chain));
            is_there && count.count() == rules.len()
        })
    }
}

/// The text that removes the table, whether it is there or not.
pub(super) fn removal(name: &str) -> String {
    format!("add table bridge {name}\ndelete table bridge {name}\n")
}

/// Whether this kernel has nftables for bridges. Nothing is changed.
///
/// # Errors
/// nft cannot be run.
pub fn has_bridge_family() -> Result<bool, ExecError> {
    let text = "table bridge kvmc_look {\n\tchain c {\n\t\ttype filter hook prerouting priority -300; policy accept;\n\t}\n}\n";
    match exec::run("nft", &["-c", "-f", "-"], text) {
        Ok(_) => Ok(true),
        Err(e) if e.code().is_some() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Ranges without overlaps, which nft refuses in a set.
fn merged(ranges: &[(Ipv4Addr, Ipv4Addr)]) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u8) -> Port {
        Port {
            tap: format!("k80-n{number}"),
            mac: MacAddr([0x52, 0x54, 0, 0, 0, number]),
            address: Ipv4Addr::new(192, 168, 80, number),
            address6: None,
        }
    }

    fn guard<'a>(ports: &'a [Port], floating: &'a [(Ipv4Addr, Ipv4Addr)]) -> Guard<'a> {
        Guard {
            name: "kvmc_k80",
            ports,
            floating,
            gateway: Ipv4Addr::new(192, 168, 80, 1),
            digest: "0123",
        }
    }

    #[test]
    fn a_port_sends_from_its_own_addresses_and_from_shared_ones_that_nobody_has() {
        let ports = [port(5), port(6)];
        let range = |first, last| {
            let at = |last| Ipv4Addr::new(192, 168, 80, last);
            (at(first), at(last))
        };
        let floating = [range(200, 250), range(4, 5), range(240, 251), range(9, 9)];
        let text = guard(&ports, &floating).render();
        let chain = text.split("chain port0").nth(1).unwrap();
        let chain = chain.split("chain").next().unwrap();
        let at = |what: &str| {
            chain
                .find(what)
                .unwrap_or_else(|| panic!("no {what} in {chain}"))
        };
        assert!(at("ether saddr != 52:54:00:00:00:05 drop") < at("accept"));
        let taken = at("\tip saddr { 192.168.80.5, 192.168.80.6, 192.168.80.1 } drop");
        assert!(at("\tip saddr 192.168.80.5 accept") < taken);
        let shared = "\tip saddr { 192.168.80.4-192.168.80.5, 192.168.80.9, 192.168.80.200-192.168.80.251 } accept";
        assert!(taken < at(shared) && at(shared) < at("ether type ip drop"));
        assert!(at("ip6 saddr { fe80::5054:ff:fe00:5 } accept") < at("ether type ip6 drop"));
        at("icmpv6 type nd-neighbor-advert @th,64,128 != 0xfe80000000000000505400fffe000005 drop");
        assert!(text.contains(r#"iifname vmap { "k80-n5" : jump port0, "k80-n6" : jump port1 }"#));
        assert!(!guard(&ports, &[]).render().contains("192.168.80.1 }"));
    }

    #[test]
    fn without_ports_the_table_is_only_removed() {
        let text = guard(&[], &[]).render();
        assert_eq!(
            text,
            "add table bridge kvmc_k80\ndelete table bridge kvmc_k80\n"
        );
    }
}

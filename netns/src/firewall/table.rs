//! Our own nft table: a model, its text, and one atomic apply.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde_json::Value;

use super::forward::{self, Forward};
use super::host_port::HostPort;
use super::spoof::{Guard, Port, has_bridge_family, removal};
use crate::{Change, ExecError, exec};

/// NAT and filtering for one bridge, in an nft table of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The table's name; its family is `inet`.
    pub name: String,
    /// The comment that names its cluster, see [`super::mark`].
    pub mark: String,
    /// The guests' bridge.
    pub bridge: String,
    /// The guests' subnet.
    pub subnet: Ipv4Network,
    /// The host's address on the bridge.
    pub gateway: Ipv4Addr,
    /// The guests' IPv6 prefix, if they have one.
    pub prefix6: Option<Ipv6Network>,
    /// The host's IPv6 address on the bridge.
    pub gateway6: Option<Ipv6Addr>,
    /// Whether guests reach only each other and the host.
    pub isolated: bool,
    /// Ports of the host that guests may connect to, beside DHCP, DNS and ICMP.
    pub host_ports: Vec<HostPort>,
    /// Links of the host from which connections to guests may be opened, as a bridge of containers.
    pub reach_from: Vec<String>,
    /// Ports of the host that are forwarded to guests.
    pub forwards: Vec<Forward>,
    /// The guests' ports, from which only their own addresses may be sent. Empty if they may send from any.
    pub ports: Vec<Port>,
    /// Ranges of addresses that any guest may send from, the first and the last.
    pub floating: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Table {
    /// The text for nft(8), which replaces the table in one transaction.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_inet() + &self.guard(&self.digest()).render()
    }

    /// What the guests may send.
    fn guard<'a>(&'a self, digest: &'a str) -> Guard<'a> {
        Guard {
            name: &self.name,
            ports: &self.ports,
            floating: &self.floating,
            gateway: self.gateway,
            digest,
        }
    }

    /// Changes with everything that the tables say, as far as one reads it in their chains' names.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = self.render_inet() + &self.guard("").render();
        // FNV-1a: a mark of what kvmc wrote itself, not a protection.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    fn render_inet(&self) -> String {
        let name = &self.name;
        let mut text =
            format!("add table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n");
        for (chain, hook, rules) in self.chains() {
            // Writing to a string cannot fail.
            let _ok = writeln!(text, "\tchain {chain} {{\n\t\t{hook}; policy accept;");
            for rule in rules {
                let _ok = writeln!(text, "\t\t{rule}");
            }
            text.push_str("\t}\n");
        }
        text + "}\n"
    }

    fn chains(&self) -> Vec<(&'static str, &'static str, Vec<String>)> {
        let mut chains = vec![
            (
                "postrouting",
                "type nat hook postrouting priority srcnat",
                self.postrouting(),
            ),
            (
                "forward",
                "type filter hook forward priority filter",
                self.forward(),
            ),
            (
                "input",
                "type filter hook input priority filter",
                self.input(),
            ),
        ];
        let translations = self.translations();
        if !translations.is_empty() {
            chains.extend([
                (
                    "prerouting",
                    "type nat hook prerouting priority dstnat",
                    translations.clone(),
                ),
                // Old versions of nft have no name for this priority in this hook.
                ("output", "type nat hook output priority -100", translations),
            ]);
        }
        chains
    }

    fn translations(&self) -> Vec<String> {
        let forwards = self.forwards.iter();
        forwards.flat_map(Forward::translations).collect()
    }

    fn postrouting(&self) -> Vec<String> {
        let Self { bridge, subnet, .. } = self;
        if self.isolated {
            return Vec::new();
        }
        let mut rules = vec![format!(
            r#"oifname != "{bridge}" ip saddr {subnet} ip daddr != {{ {subnet}, 224.0.0.0/4, 255.255.255.255 }} masquerade"#
        )];
        if let Some(prefix) = self.prefix6 {
            rules.push(format!(
                r#"oifname != "{bridge}" ip6 saddr {prefix} ip6 daddr != {{ {prefix}, fe80::/10, ff00::/8 }} masquerade"#
            ));
        }
        if !self.translations().is_empty() {
            rules.extend(forward::hairpin(bridge, *subnet, self.prefix6));
        }
        rules
    }

    fn forward(&self) -> Vec<String> {
        let Self { bridge, mark, .. } = self;
        // With br_netfilter, packets between guests pass through this chain too.
        let mut rules = vec![format!(
            r#"iifname "{bridge}" oifname "{bridge}" accept comment "{mark}""#
        )];
        if self.isolated {
            rules.push(format!(
                r#"iifname "{bridge}" reject with icmpx admin-prohibited"#
            ));
        } else {
            if self.prefix6.is_some() {
                // Amazon's metadata service answers at this address.
                rules.push(format!(
                    r#"iifname "{bridge}" ip6 daddr fd00:ec2::254 reject with icmpx admin-prohibited"#
                ));
            }
            rules.extend([
                // A cloud's metadata service answers at a link-local address, with secrets of the host.
                format!(r#"iifname "{bridge}" ip daddr 169.254.0.0/16 reject with icmpx admin-prohibited"#),
                format!(r#"iifname "{bridge}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"#),
                format!(r#"oifname "{bridge}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"#),
                format!(r#"iifname "{bridge}" accept"#),
                format!(r#"oifname "{bridge}" ct state established,related accept"#),
                format!(r#"oifname "{bridge}" ct status dnat accept"#),
            ]);
        }
        let from = self.reach_from.iter();
        rules.extend(from.map(|link| format!(r#"iifname "{link}" oifname "{bridge}" accept"#)));
        rules.push(format!(r#"oifname "{bridge}" drop"#));
        rules
    }

    fn input(&self) -> Vec<String> {
        let Self {
            bridge, gateway, ..
        } = self;
        let mut rules = vec![
            // A neighbour of the host with a route to this address must not reach services for the guests.
            format!(r#"iifname != {{ "{bridge}", "lo" }} ip daddr {gateway} drop"#),
            format!(r#"iifname "{bridge}" ct state established,related accept"#),
            format!(r#"iifname "{bridge}" ip daddr 169.254.0.0/16 drop"#),
            format!(r#"iifname "{bridge}" meta l4proto {{ icmp, ipv6-icmp }} accept"#),
            format!(r#"iifname "{bridge}" udp dport 67 accept"#),
            format!(r#"iifname "{bridge}" ip daddr {gateway} udp dport 53 accept"#),
            format!(r#"iifname "{bridge}" ip daddr {gateway} tcp dport 53 accept"#),
        ];
        if let Some(gateway) = self.gateway6 {
            rules.insert(
                0,
                format!(r#"iifname != {{ "{bridge}", "lo" }} ip6 daddr {gateway} drop"#),
            );
            rules.extend(["udp", "tcp"].map(|protocol| {
                format!(r#"iifname "{bridge}" ip6 daddr {gateway} {protocol} dport 53 accept"#)
            }));
        }
        for port in &self.host_ports {
            let HostPort {
                first,
                last,
                protocol,
            } = port;
            let protocol = protocol.name();
            let ports = if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            };
            rules.push(format!(
                r#"iifname "{bridge}" {protocol} dport {ports} accept"#
            ));
        }
        rules.extend([
            format!(r#"iifname "{bridge}" meta l4proto tcp reject with tcp reset"#),
            format!(r#"iifname "{bridge}" reject with icmpx admin-prohibited"#),
        ]);
        rules
    }

    /// Makes the table, or replaces it.
    ///
    /// # Errors
    /// nft failed; the error holds its output.
    pub fn apply(&self) -> Result<(), ExecError> {
        match exec::run("nft", &["-f", "-"], &self.render()) {
            Err(e) if e.code().is_some() && !has_bridge_family()? => {
                exec::run("nft", &["-f", "-"], &self.render_inet()).map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Removes the table if it is there.
    ///
    /// # Errors
    /// nft failed; the error holds its output.
    pub fn remove(&self) -> Result<Change, ExecError> {
        if !self.exists()? {
            return Ok(Change::Unchanged);
        }
        Self::remove_named(&self.name)?;
        Ok(Change::Removed)
    }

    /// Removes the table of this name if it is there.
    ///
    /// # Errors
    /// nft failed; the error holds its output.
    pub fn remove_named(name: &str) -> Result<(), ExecError> {
        let text = format!("add table inet {name}\ndelete table inet {name}\n");
        exec::run("nft", &["-f", "-"], &text)?;
        match exec::run("nft", &["-f", "-"], &removal(name)) {
            // Without the family there is no such table.
            Err(e) if e.code().is_some() && !has_bridge_family()? => Ok(()),
            done => done.map(drop),
        }
    }

    /// Whether nft's JSON has every chain of the table with its number of rules: versions of nft differ in their text.
    pub(super) fn is_whole_in(&self, listing: &Value) -> bool {
        let objects = listing.get("nftables").and_then(Value::as_array);
        let text = |o: &Value, key: &str| o.get(key).and_then(Value::as_str).map(str::to_owned);
        let is_there = objects.into_iter().flatten().any(|o| {
            o.get("table").is_some_and(|t| {
                text(t, "family").as_deref() == Some("inet")
                    && text(t, "name").as_ref() == Some(&self.name)
            })
        });
        if !is_there {
            return false;
        }
        let rules_of = |chain: &str| {
            let objects = objects.into_iter().flatten();
            objects
                .filter_map(|o| o.get("rule"))
                .filter(|r| r.get("family").and_then(Value::as_str) == Some("inet"))
                .filter(|r| r.get("table").and_then(Value::as_str) == Some(&self.name))
                .filter(|r| r.get("chain").and_then(Value::as_str) == Some(chain))
                .count()
        };
        let is_whole = self
            .chains()
            .iter()
            .all(|(chain, _, rules)| rules_of(chain) == rules.len());
        let is_guarded = || self.guard(&self.digest()).is_whole_in(listing);
        // A kernel that cannot guard is asked only where it does not.
        is_whole && (is_guarded() || has_bridge_family().is_ok_and(|has| !has))
    }

    fn exists(&self) -> Result<bool, ExecError> {
        let tables = exec::run("nft", &["list", "tables"], "")?;
        let wanted = ["inet", "bridge"].map(|family| format!("table {family} {}", self.name));
        let mut lines = tables.lines().map(str::trim);
        Ok(lines.any(|line| wanted.iter().any(|w| w == line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            name: "kvmc_k80".to_owned(),
            mark: "kvmc k80".to_owned(),
            bridge: "k80".to_owned(),
            subnet: "192.168.80.0/24".parse().unwrap(),
            gateway: "192.168.80.1".parse().unwrap(),
            prefix6: None,
            gateway6: None,
            isolated: false,
            host_ports: Vec::new(),
            reach_from: Vec::new(),
            forwards: Vec::new(),
            ports: Vec::new(),
            floating: Vec::new(),
        }
    }

    #[test]
    fn the_text_replaces_the_table_and_drops_what_is_unasked() {
        let text = table().render();
        assert!(text.starts_with("add table inet kvmc_k80\ndelete table inet kvmc_k80\n"));
        assert!(text.contains("ip saddr 192.168.80.0/24 ip daddr != { 192.168.80.0/24, 224.0.0.0/4, 255.255.255.255 } masquerade"));
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}"));
        assert!(at("established,related accept") < at("oifname \"k80\" drop"));
        assert!(at("169.254.0.0/16 reject") < at("iifname \"k80\" accept"));
    }

    #[test]
    fn ports_of_the_host_are_opened_before_the_rest_is_refused() {
        let mut table = table();
        table.host_ports = vec!["8080".parse().unwrap(), "69-70/udp".parse().unwrap()];
        let text = table.render();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}"));
        assert!(at("tcp dport 8080 accept") < at("reject with tcp reset"));
        assert!(at("udp dport 69-70 accept") < at("reject with tcp reset"));
    }

    #[test]
    fn ipv6_is_translated_where_there_is_some() {
        assert!(!table().render().contains("ip6"));
        let mut table = table();
        table.prefix6 = Some("fd00:1:2:3::/64".parse().unwrap());
        table.gateway6 = Some("fd00:1:2:3::1".parse().unwrap());
        let text = table.render();
        assert!(text.contains("ip6 saddr fd00:1:2:3::/64 ip6 daddr != { fd00:1:2:3::/64, fe80::/10, ff00::/8 } masquerade"));
        assert!(text.contains("ip6 daddr fd00:1:2:3::1 drop"));
        assert!(text.contains("ip6 daddr fd00:1:2:3::1 udp dport 53 accept"));
    }

    #[test]
    fn forwards_have_chains_of_their_own_only_when_there_are_some() {
        assert!(!table().render().contains("dnat ip"));
        let mut table = table();
        table.forwards.push(Forward {
            protocol: crate::Protocol::Tcp,
            address: None,
            port: 8080,
            to: "192.168.80.8".parse().unwrap(),
            to6: None,
            to_port: 80,
        });
        let text = table.render();
        for hook in ["hook prerouting", "hook output"] {
            let chain = text.split(hook).nth(1).unwrap();
            assert!(chain.contains("tcp dport 8080 dnat ip to 192.168.80.8:80"));
        }
        assert!(
            text.contains("oifname \"k80\" ip saddr 192.168.80.0/24 ct status dnat masquerade")
        );
    }

    #[test]
    fn links_that_may_reach_guests_are_accepted_before_the_rest_is_dropped() {
        let mut table = table();
        table.reach_from = vec!["docker0".to_owned()];
        let text = table.render();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}"));
        let accept = at("iifname \"docker0\" oifname \"k80\" accept");
        assert!(accept < at("oifname \"k80\" drop"));
    }

    #[test]
    fn an_isolated_network_has_no_way_out() {
        let mut table = table();
        table.isolated = true;
        let text = table.render();
        assert!(
            !text.contains("masquerade") && !text.contains("dnat"),
            "{text}"
        );
        assert!(text.contains("iifname \"k80\" oifname \"k80\" accept"));
    }
}

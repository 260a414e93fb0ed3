//! Who else lives by the host's forwarding, whoever switched it on: who translates source addresses (containers, other
//! virtual machines, a VPN), and who has rules that let forwarded packets of a link through (a router without translation).

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::chains::Chains;
use super::iptables::{self, Backend, Family};
use super::{firewalld, nftables};
use crate::{ExecError, exec};

/// What is not another's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Names of nft tables.
    pub tables: BTreeSet<String>,
    /// Names of bridges, as rules in others' tables have them.
    pub bridges: BTreeSet<String>,
}

/// The rules that masquerade or translate source addresses, of iptables each as iptables-save(8) shows it, of nft the
/// chains; and the links that rules for forwarded packets accept by name.
///
/// # Errors
/// nft's or iptables', with their words.
pub fn forwarders(own: &Own) -> Result<Vec<String>, ExecError> {
    let mut all = Vec::new();
    let mut is_seen = false;
    for backend in Backend::ALL {
        let saved = backend.save(Family::V4)?;
        let name = format!("iptables ({})", backend.name());
        all.extend(of_iptables(&saved).map(|rule| format!("{name}: {rule}")));
        if !firewalld::is_in(&saved) {
            let chains = iptables::parse(&saved, Family::V4, None);
            all.extend(letting_through(&name, &chains, own));
        }
        is_seen |= backend == Backend::Nft && !saved.is_empty();
    }
    let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
    let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
    all.extend(of_nft(&listing, &own.tables));
    for ((family, table), chains) in nftables::parse(&listing) {
        let is_iptables = is_seen && (family.as_str(), table.as_str()) == ("ip", "filter");
        // Its zones name every link there is.
        if !is_iptables && table != firewalld::TABLE && !own.tables.contains(&table) {
            let name = format!("nft: table {family} {table}");
            all.extend(letting_through(&name, &chains, own));
        }
    }
    Ok(all)
}

fn letting_through(name: &str, chains: &Chains, own: &Own) -> Vec<String> {
    let links = chains.let_through();
    links
        .iter()
        .filter(|link| !own.bridges.contains(**link) && **link != "lo")
        .map(|link| format!("{name} lets packets of {link} through"))
        .collect()
}

fn of_iptables(saved: &str) -> impl Iterator<Item = &str> {
    let nat = saved
        .lines()
        .skip_while(|line| *line != "*nat")
        .take_while(|line| *line != "COMMIT");
    nat.filter(|line| {
        line.starts_with("-A ")
            && [" -j MASQUERADE", " -j SNAT"]
                .iter()
                .any(|target| line.contains(target))
    })
}

fn of_nft(listing: &Json, own: &BTreeSet<String>) -> Vec<String> {
    let objects = listing.get("nftables").and_then(Json::as_array);
    let rules = objects.into_iter().flatten().filter_map(|o| o.get("rule"));
    let mut all = Vec::new();
    for rule in rules {
        let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
        let expressions = rule.get("expr").and_then(Json::as_array);
        let translates = expressions
            .into_iter()
            .flatten()
            .any(|e| e.get("masquerade").is_some() || e.get("snat").is_some());
        // iptables says more about its own.
        let is_iptables = (text("family"), text("table")) == ("ip", "nat")
            && text("chain").chars().all(|c| !c.is_ascii_lowercase());
        if translates && !is_iptables && !own.contains(text("table")) {
            let place = format!(
                "nft: table {} {}, chain {}",
                text("family"),
                text("table"),
                text("chain")
            );
            if !all.contains(&place) {
                all.push(place);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_translation_is_found_and_ours_is_not_others() {
        let saved = "*filter\n-A FORWARD -j ACCEPT\nCOMMIT\n*nat\n:POSTROUTING ACCEPT [0:0]\n\
            -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
            -A DOCKER -p tcp -j DNAT --to-destination 172.17.0.2:80\n\
            -A POSTROUTING -o eth0 -j SNAT --to-source 192.0.2.1\nCOMMIT\n";
        assert_eq!(
            of_iptables(saved).collect::<Vec<_>>(),
            [
                "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
                "-A POSTROUTING -o eth0 -j SNAT --to-source 192.0.2.1"
            ]
        );
        assert_eq!(of_iptables("*nat").count(), 0);
        let rule = |table: &str, what: &str| {
            serde_json::json!({ "rule": {
                "family": "inet", "table": table, "chain": "post", "expr": [{ "counter": null }, { what: null }],
            } })
        };
        let listing = serde_json::json!({ "nftables": [
            { "metainfo": {} }, rule("kvmc_k80", "masquerade"), rule("vpn", "accept"),
            rule("pods", "masquerade"), rule("pods", "snat"),
        ] });
        assert_eq!(
            of_nft(&listing, &["kvmc_k80".to_owned()].into()),
            ["nft: table inet pods, chain post"]
        );
        assert_eq!(of_nft(&Json::Null, &BTreeSet::new()), [""; 0]);
    }

    #[test]
    fn p4_links_that_others_let_through_are_found_and_ours_are_not_others() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:VIRT - [0:0]\n:UNUSED - [0:0]\n\
            -A INPUT -i eth9 -j ACCEPT\n-A UNUSED -i eth8 -j ACCEPT\n-A FORWARD -j VIRT\n\
            -A FORWARD -i k80 -m comment --comment \"kvmc k80\" -j ACCEPT\n-A FORWARD -i lo -j ACCEPT\n\
            -A FORWARD -i wg0 -j ACCEPT\n-A FORWARD ! -i eth7 -j ACCEPT\n-A FORWARD -i eth6 -j DROP\n\
            -A VIRT -o virbr1 -j ACCEPT\n-A VIRT -i virbr2 -o virbr2 -j ACCEPT\n-A VIRT -j VIRT\nCOMMIT\n";
        let own = Own {
            bridges: ["k80".to_owned()].into(),
            ..Own::default()
        };
        assert_eq!(
            letting_through("iptables", &iptables::parse(saved, Family::V4, None), &own),
            [
                "iptables lets packets of virbr1 through",
                "iptables lets packets of wg0 through"
            ]
        );
    }
}

//! Other programs that need the host's forwarding: those that translate source addresses (containers, other virtual
//! machines, a VPN), and those with rules that accept forwarded packets of a link (a router without NAT).

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::backend::Backend;
use super::chains::Chains;
use super::family::Family;
use super::{firewalld, iptables, nftables};
use crate::{ExecError, exec};

/// Names in firewall rules that are kvmc's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnNames {
    /// nft tables.
    pub tables: BTreeSet<String>,
    /// Bridges, which rules in tables of other programs name.
    pub bridges: BTreeSet<String>,
}

/// Finds them by their rules. Returns each rule of iptables that translates source addresses, each chain of nft that does,
/// and each link whose forwarded packets a rule accepts by the link's name.
///
/// # Errors
/// nft or iptables failed; the error holds its output.
pub fn forwarders(own: &OwnNames) -> Result<Vec<String>, ExecError> {
    let mut all = Vec::new();
    let mut has_nft_backend = false;
    for backend in Backend::ALL {
        let saved = backend.save(Family::V4)?;
        let name = format!("iptables ({})", backend.name());
        all.extend(of_iptables(&saved).map(|rule| format!("{name}: {rule}")));
        if !firewalld::is_in(&saved) {
            let chains = iptables::parse(&saved, Family::V4, None);
            all.extend(accepting(&name, &chains, own));
        }
        has_nft_backend |= backend == Backend::Nft && !saved.is_empty();
    }
    let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
    let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
    all.extend(of_nft(&listing, &own.tables));
    for ((family, table), chains) in nftables::parse(&listing) {
        let is_iptables = has_nft_backend && (family.as_str(), table.as_str()) == ("ip", "filter");
        // firewalld's zones name all links.
        if !is_iptables && table != firewalld::TABLE && !own.tables.contains(&table) {
            let name = format!("nft: table {family} {table}");
            all.extend(accepting(&name, &chains, own));
        }
    }
    Ok(all)
}

fn accepting(name: &str, chains: &Chains, own: &OwnNames) -> Vec<String> {
    let links = chains.accepted_links();
    links
        .iter()
        .filter(|link| !own.bridges.contains(**link) && **link != "lo")
        .map(|link| format!("{name} accepts packets of {link}"))
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
        // iptables-save shows more of its own rules.
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
        let own = OwnNames {
            bridges: ["k80".to_owned()].into(),
            ..OwnNames::default()
        };
        assert_eq!(
            accepting("iptables", &iptables::parse(saved, Family::V4, None), &own),
            [
                "iptables accepts packets of virbr1",
                "iptables accepts packets of wg0"
            ]
        );
    }
}

//! Who else translates source addresses here: containers, other virtual machines, a VPN. They live by
//! the host's forwarding, whoever switched it on.

use serde_json::Value as Json;

use super::iptables::{Backend, Family};
use crate::{ExecError, exec};

/// The rules that masquerade or translate source addresses, but for those in the `own` tables: of
/// iptables each rule as iptables-save(8) shows it, of nft the chains.
///
/// # Errors
/// nft's or iptables', with their words.
pub fn translators(own: &[String]) -> Result<Vec<String>, ExecError> {
    let mut all = Vec::new();
    for backend in Backend::ALL {
        let saved = backend.save(Family::V4)?;
        all.extend(of_iptables(&saved).map(|r| format!("iptables ({}): {r}", backend.name())));
    }
    let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
    let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
    all.extend(of_nft(&listing, own));
    Ok(all)
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

fn of_nft(listing: &Json, own: &[String]) -> Vec<String> {
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
        if translates && !is_iptables && !own.iter().any(|name| name == text("table")) {
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
            of_nft(&listing, &["kvmc_k80".to_owned()]),
            ["nft: table inet pods, chain post"]
        );
        assert_eq!(of_nft(&Json::Null, &[]), [""; 0]);
    }
}

//! Names the drops in nft tables of other programs. kvmc never changes these tables. Pure.

use super::chains::Chains;
use super::dropped::{dropped, kinds};
use super::host_network::HostNetwork;
use super::packet::Hook;
use super::plan::{Obstacle, Plan};
use super::table::Table;

/// Adds to `plan` the packets that the chains of the table `name` drop; `name` includes its family.
pub(super) fn extend(
    plan: &mut Plan,
    name: &str,
    chains: &Chains,
    table: &Table,
    host: &HostNetwork,
) {
    let dropped = dropped(chains, table, host);
    for base in &chains.bases {
        let here: Vec<_> = dropped.iter().filter(|d| d.base == base).cloned().collect();
        let Some(first) = here.first().map(|d| &d.at) else {
            continue;
        };
        let by = match &first.rule {
            None => "policy drop".to_owned(),
            Some(rule) if first.chain == base.chain => format!("its rule `{rule}`"),
            Some(rule) => format!("the rule `{rule}` of chain {}", first.chain),
        };
        let insert = format!("nft insert rule {name} {}", base.chain);
        let bridge = &table.bridge;
        let cure = match base.hook {
            _ if chains.of_bridges => format!("`{insert} meta ibrname {bridge} accept`"),
            Hook::Input => format!("`{insert} iifname {bridge} accept`"),
            Hook::Output => format!("`{insert} oifname {bridge} accept`"),
            Hook::Forward => format!(
                "`{insert} iifname {bridge} accept` and `{insert} oifname {bridge} ct state established,related accept`"
            ),
        };
        plan.obstacles.push(Obstacle {
            place: format!("the nft table {name}, chain {} ({by})", base.chain),
            packets: kinds(&here),
            cure: format!("let them through there: {cure}"),
            certain: here.iter().any(|d| d.at.certain),
        });
    }
}

//! The firewall rules of all programs on the host, and the additions that they require so that a cluster's packets pass.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::accept::Accept;
use super::backend::Backend;
use super::chains::Chains;
use super::dropped::{dropped, kinds};
use super::family::Family;
use super::host_network::HostNetwork;
use super::plan::{Obstacle, Plan};
use super::table::Table;
use super::{firewalld, iptables, iptables_plan, nftables, nftables_plan};
use crate::{ExecError, exec};

/// All firewall rules of one network namespace, as they were when they were read.
#[derive(Clone, Debug, Default)]
pub struct Rulesets {
    /// The text of iptables-save(8).
    iptables: BTreeMap<(Backend, Family), String>,
    /// Chains of nft's tables, by family and name.
    nft: BTreeMap<(String, String), Chains>,
    /// All of nft's tables, in its JSON.
    listing: Json,
}

impl Rulesets {
    /// Reads the rules of this network namespace.
    ///
    /// # Errors
    /// nft or iptables failed; the error holds its output.
    pub fn read() -> Result<Self, ExecError> {
        let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
        let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
        let mut nft = nftables::parse(&listing);
        let mut iptables = BTreeMap::new();
        for (backend, family) in Backend::all() {
            // Rules of iptables-nft are in nft's listing too.
            let is_listed = nft.contains_key(&(family.nft().to_owned(), "filter".to_owned()));
            if backend == Backend::Nft && !is_listed {
                continue;
            }
            let saved = backend.save(family)?;
            if iptables::has_filter(&saved) {
                iptables.insert((backend, family), saved);
            }
        }
        for family in Family::ALL {
            if iptables.contains_key(&(Backend::Nft, family)) {
                // iptables-save shows more of the same rules than nft does.
                nft.remove(&(family.nft().to_owned(), "filter".to_owned()));
            }
        }
        Ok(Self {
            iptables,
            nft,
            listing,
        })
    }

    /// Whether our table exists with all its rules. A flushed table does not count.
    #[must_use]
    pub fn hold(&self, table: &Table) -> bool {
        table.is_whole_in(&self.listing)
    }

    /// Whether firewalld has rules here, so that its zones matter.
    #[must_use]
    pub fn has_firewalld(&self) -> bool {
        self.nft.keys().any(|(_, table)| table == firewalld::TABLE)
            || self.iptables.values().any(|s| firewalld::is_in(s))
    }

    /// The additions that let the packets of this table's guests pass. `zone` is the bridge's zone in firewalld.
    #[must_use]
    pub fn plan(&self, table: &Table, host: &HostNetwork, zone: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        for ((backend, family), saved) in &self.iptables {
            if *family == Family::V6 && table.prefix6.is_none() {
                continue;
            }
            if firewalld::is_in(saved) {
                let name = format!("firewalld's {} rules", backend.program(*family));
                let chains = iptables::parse(saved, *family, None);
                plan_for_firewalld(&mut plan, &name, &chains, table, host, zone);
            } else {
                iptables_plan::extend(&mut plan, (*backend, *family), saved, table, host);
            }
        }
        for ((family, name), chains) in &self.nft {
            let is_met = match family.as_str() {
                "ip" | "inet" | "bridge" => true,
                "ip6" => table.prefix6.is_some(),
                _ => false,
            };
            if *name == table.name || !is_met {
                continue;
            }
            let whole = format!("{family} {name}");
            if name == firewalld::TABLE {
                let name = format!("firewalld's nft table {whole}");
                plan_for_firewalld(&mut plan, &name, chains, table, host, zone);
            } else {
                nftables_plan::extend(&mut plan, &whole, chains, table, host);
            }
        }
        plan.accepts.dedup();
        plan
    }
}

fn plan_for_firewalld(
    plan: &mut Plan,
    name: &str,
    chains: &Chains,
    table: &Table,
    host: &HostNetwork,
    zone: Option<&str>,
) {
    let bridge = &table.bridge;
    if zone == Some(firewalld::ZONE) {
        return;
    }
    let dropped = dropped(chains, table, host);
    let Some(first) = dropped.first() else {
        return;
    };
    match zone {
        None => plan.accepts.push(Accept::Zone {
            zone: firewalld::ZONE.to_owned(),
            bridge: bridge.clone(),
        }),
        Some(zone) => plan.obstacles.push(Obstacle {
            place: format!(
                "{name} (chain {}; {bridge} is in zone {zone})",
                first.at.chain
            ),
            packets: kinds(&dropped),
            cure: format!(
                "move it with `firewall-cmd --zone={} --change-interface={bridge}`",
                firewalld::ZONE
            ),
            certain: dropped.iter().any(|d| d.at.certain),
        }),
    }
}

#[cfg(test)]
impl Rulesets {
    /// The rules in these texts.
    fn of(iptables: &[((Backend, Family), &str)], nft: &str) -> Self {
        let listing: Json = serde_json::from_str(nft).unwrap_or_default();
        Self {
            iptables: iptables
                .iter()
                .map(|(of, saved)| (*of, (*saved).to_owned()))
                .collect(),
            nft: nftables::parse(&listing),
            listing,
        }
    }
}

#[cfg(test)]
#[path = "rulesets_tests.rs"]
mod tests;

//! What must be added to the rule sets of others so that a cluster's packets come through, and what stands
//! in the way and is not ours to change. Pure, but for [`Rulesets::read`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::Value as Json;

use super::accept::Accept;
use super::chains::{Base, Chains, Death, Fate};
use super::iptables::{self, Backend, Family};
use super::packet::{Hook, Packet, specimens};
use super::{Table, firewalld, nftables};
use crate::{ExecError, exec};

/// Where a cluster's bridge stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The link by which the host reaches the outside.
    pub uplink: Option<String>,
    /// The same for IPv6, where it has such a link.
    pub uplink6: Option<String>,
    /// br_netfilter is on: packets between ports of a bridge meet the rules for forwarded ones.
    pub bridged: bool,
    /// The same for IPv6.
    pub bridged6: bool,
}

/// The rules of all who have some.
#[derive(Clone, Debug, Default)]
pub struct Rulesets {
    iptables: BTreeMap<(Backend, Family), String>,
    nft: BTreeMap<(String, String), Chains>,
    /// All of nft's, in its JSON.
    listing: Json,
}

/// What others' rules ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Not there yet.
    pub accepts: Vec<Accept>,
    /// What no rule of ours undoes.
    pub obstacles: Vec<Obstacle>,
}

/// A chain of others that drops what a cluster lives by, and is not ours to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Who has it, and what in it drops: table, chain, policy or rule.
    pub place: String,
    /// What is lost.
    pub packets: Vec<&'static str>,
    /// How the host's owner lets it through.
    pub cure: String,
    /// False when a rule that kvmc does not understand may let them through.
    pub certain: bool,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            packets,
            cure,
            certain,
        } = self;
        let drops = if *certain { "drops" } else { "seems to drop" };
        write!(
            f,
            "{place} {drops} packets {}, and a rule elsewhere cannot undo that; {cure}",
            packets.join(", ")
        )
    }
}

impl Rulesets {
    /// Reads all there are in this network namespace.
    ///
    /// # Errors
    /// nft's or iptables', with their words.
    pub fn read() -> Result<Self, ExecError> {
        let listing = exec::run("nft", &["-j", "list", "ruleset"], "")?;
        let listing: Json = serde_json::from_str(&listing).unwrap_or_default();
        let mut nft = nftables::parse(&listing);
        let mut iptables = BTreeMap::new();
        for (backend, family) in Backend::all() {
            // Its table would have been in the listing.
            let is_seen = nft.contains_key(&(family.nft().to_owned(), "filter".to_owned()));
            if backend == Backend::Nft && !is_seen {
                continue;
            }
            let saved = backend.save(family)?;
            if iptables::has_filter(&saved) {
                iptables.insert((backend, family), saved);
            }
        }
        for family in Family::ALL {
            if iptables.contains_key(&(Backend::Nft, family)) {
                // The same rules, which iptables says more about.
                nft.remove(&(family.nft().to_owned(), "filter".to_owned()));
            }
        }
        Ok(Self {
            iptables,
            nft,
            listing,
        })
    }

    /// Whether a table of ours was there with all its rules when these were read: one that was flushed was not.
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

    /// What the packets of this table's guests need of others. `zone` is the bridge's in firewalld.
    #[must_use]
    pub fn plan(&self, table: &Table, site: &Site, zone: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        for ((backend, family), saved) in &self.iptables {
            if *family == Family::V6 && table.prefix6.is_none() {
                continue;
            }
            if firewalld::is_in(saved) {
                let name = format!("firewalld's {} rules", backend.program(*family));
                self.of_firewalld(
                    &name,
                    &iptables::parse(saved, *family, None),
                    table,
                    site,
                    zone,
                    &mut plan,
                );
            } else {
                of_iptables((*backend, *family), saved, table, site, &mut plan);
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
                self.of_firewalld(&name, chains, table, site, zone, &mut plan);
            } else {
                of_nft(&whole, chains, table, site, &mut plan);
            }
        }
        plan.accepts.dedup();
        plan
    }

    fn of_firewalld(
        &self,
        name: &str,
        chains: &Chains,
        table: &Table,
        site: &Site,
        zone: Option<&str>,
        plan: &mut Plan,
    ) {
        let bridge = &table.bridge;
        if zone == Some(firewalld::ZONE) {
            return;
        }
        let lost = lost(chains, table, site);
        let Some((_, death, _)) = lost.first() else {
            return;
        };
        match zone {
            None => plan.accepts.push(Accept::Zone {
                zone: firewalld::ZONE.to_owned(),
                bridge: bridge.clone(),
            }),
            Some(zone) => plan.obstacles.push(Obstacle {
                place: format!("{name} (chain {}; {bridge} is in zone {zone})", death.chain),
                packets: whats(&lost),
                cure: format!(
                    "move it with `firewall-cmd --zone={} --change-interface={bridge}`",
                    firewalld::ZONE
                ),
                certain: lost.iter().any(|(_, death, _)| death.certain),
            }),
        }
    }
}

type Lost<'a> = (&'a Base, Death, Packet);

/// The packets that die in these chains.
fn lost<'a>(chains: &'a Chains, table: &Table, site: &Site) -> Vec<Lost<'a>> {
    let packets: Vec<_> = specimens(table, site)
        .into_iter()
        .filter(|p| {
            let is_bridged = match p.family() {
                Family::V4 => site.bridged,
                Family::V6 => site.bridged6,
            };
            let is_of_family = chains.family.is_none_or(|family| family == p.family());
            is_of_family
                && if p.between_guests {
                    is_bridged || chains.of_bridges
                } else {
                    !chains.of_bridges
                }
        })
        .collect();
    let mut lost = Vec::new();
    for base in &chains.bases {
        for packet in packets.iter().filter(|p| p.hook == base.hook) {
            if let Fate::Dropped(death) = chains.fate(base, packet) {
                lost.push((base, death, packet.clone()));
            }
        }
    }
    lost
}

fn whats(lost: &[Lost<'_>]) -> Vec<&'static str> {
    let mut whats: Vec<_> = Vec::new();
    for (_, _, packet) in lost {
        if !whats.contains(&packet.what) {
            whats.push(packet.what);
        }
    }
    whats
}

fn of_iptables(
    (backend, family): (Backend, Family),
    saved: &str,
    table: &Table,
    site: &Site,
    plan: &mut Plan,
) {
    let program = backend.program(family);
    let now = iptables::parse(saved, family, None);
    // Where ours belong is found among the rules of others.
    let without = iptables::parse(saved, family, Some(&table.mark));
    let still_lost = lost(&now, table, site);
    let lost = lost(&without, table, site);
    for base in &without.bases {
        let of_base = |l: &&Lost<'_>| l.0.hook == base.hook;
        // A rule about some packets only was meant by somebody, and is not gone round; but ufw's policy is
        // also a chain.
        let is_ufws_policy = |chain: &str| {
            chain.starts_with("ufw-skip-to-policy-") || chain.starts_with("ufw6-skip-to-policy-")
        };
        let meant = |l: &&Lost<'_>| l.1.meant && !is_ufws_policy(&l.1.chain);
        let deaths: Vec<_> = lost.iter().filter(of_base).filter(|l| !meant(l)).collect();
        let unmade = still_lost.iter().filter(of_base).any(|l| !meant(&l));
        if let Some(first) = deaths.iter().map(|l| l.1.position).min()
            && unmade
        {
            let (chain, position) = place(&without, family, base, first);
            plan.accepts.push(Accept::Iptables {
                backend,
                family,
                position: position + 1,
                rules: rules(table, family, base.hook),
                chain,
            });
        }
        for (_, death, packet) in still_lost.iter().filter(of_base).filter(meant) {
            plan.obstacles.push(Obstacle {
                place: format!(
                    "{program}, chain {}, rule `{}`",
                    death.chain,
                    death.rule.as_deref().unwrap_or_default()
                ),
                packets: vec![packet.what],
                cure: format!(
                    "remove the rule, or put one before it: `{program} -I {} {} {} -j ACCEPT`",
                    death.chain,
                    if packet.iif == table.bridge {
                        "-i"
                    } else {
                        "-o"
                    },
                    table.bridge
                ),
                certain: death.certain,
            });
        }
    }
}

/// The chain for our rules, and how many of others' stay before them: Docker has one for those that it
/// shall not touch; ufw's own come first, so that what its user denies stays denied; else right before
/// what drops.
fn place(chains: &Chains, family: Family, base: &Base, death: usize) -> (String, usize) {
    const DOCKER: &str = "DOCKER-USER";
    if chains
        .jump(&base.chain, DOCKER)
        .is_some_and(|at| at <= death)
    {
        return (DOCKER.to_owned(), 0);
    }
    let before = match family {
        Family::V4 => "ufw-before",
        Family::V6 => "ufw6-before",
    };
    let ufw = format!("{before}-{}", base.chain.to_ascii_lowercase());
    let position = match chains.jump(&base.chain, &ufw) {
        Some(at) if at < death => at + 1,
        _ => death,
    };
    (base.chain.clone(), position)
}

/// What is accepted, without chain and comment. Our own table is what decides; here is let through no
/// more than it asks for, so that all stays shut should it be flushed.
fn rules(table: &Table, family: Family, hook: Hook) -> Vec<String> {
    let bridge = &table.bridge;
    let answered = "-m conntrack --ctstate RELATED,ESTABLISHED";
    match hook {
        Hook::Forward if table.isolated => vec![format!("-i {bridge} -o {bridge}")],
        Hook::Forward => vec![
            format!("-i {bridge}"),
            format!("-o {bridge} {answered},DNAT"),
        ],
        Hook::Output => vec![format!("-o {bridge}")],
        Hook::Input => {
            let mut rules = vec![format!("-i {bridge} {answered}")];
            match family {
                Family::V4 => rules.extend([
                    format!("-i {bridge} -p icmp"),
                    format!("-i {bridge} -p udp -m udp --dport 67"),
                ]),
                Family::V6 => rules.push(format!("-i {bridge} -p ipv6-icmp")),
            }
            let gateway = match (family, table.gateway6) {
                (Family::V6, Some(gateway)) => IpAddr::V6(gateway),
                _ => IpAddr::V4(table.gateway),
            };
            rules.extend(["udp", "tcp"].map(|protocol| {
                format!("-d {gateway} -i {bridge} -p {protocol} -m {protocol} --dport 53")
            }));
            rules.extend(table.host_ports.iter().map(|port| {
                let protocol = port.protocol.name();
                let ports = format!("{}:{}", port.first, port.last);
                format!("-i {bridge} -p {protocol} -m {protocol} --dport {ports}")
            }));
            rules
        }
    }
}

fn of_nft(name: &str, chains: &Chains, table: &Table, site: &Site, plan: &mut Plan) {
    let lost = lost(chains, table, site);
    for base in &chains.bases {
        let of_base: Vec<_> = lost.iter().filter(|l| l.0 == base).cloned().collect();
        let Some((_, death, _)) = of_base.first() else {
            continue;
        };
        let by = match &death.rule {
            None => "policy drop".to_owned(),
            Some(rule) if death.chain == base.chain => format!("its rule `{rule}`"),
            Some(rule) => format!("the rule `{rule}` of chain {}", death.chain),
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
            packets: whats(&of_base),
            cure: format!("let them through there: {cure}"),
            certain: of_base.iter().any(|(_, death, _)| death.certain),
        });
    }
}

#[cfg(test)]
#[path = "others_tests.rs"]
mod tests;

impl Rulesets {
    /// From text, for tests.
    #[cfg(test)]
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

//! Plans the additions to rules of iptables. Pure.

use std::net::IpAddr;

use super::accept::Accept;
use super::backend::Backend;
use super::chains::{BaseChain, Chains};
use super::dropped::{Dropped, dropped};
use super::family::Family;
use super::host_network::HostNetwork;
use super::iptables;
use super::packet::Hook;
use super::plan::{Obstacle, Plan};
use super::table::Table;

/// Adds to `plan` the rules that the text of iptables-save(8) requires.
pub(super) fn extend(
    plan: &mut Plan,
    (backend, family): (Backend, Family),
    saved: &str,
    table: &Table,
    host: &HostNetwork,
) {
    let program = backend.program(family);
    // Positions are counted without our own rules.
    let without_ours = iptables::parse(saved, family, Some(&table.mark));
    let as_it_is = iptables::parse(saved, family, None);
    let dropped_without_ours = dropped(&without_ours, table, host);
    let still_dropped = dropped(&as_it_is, table, host);
    for base in &without_ours.bases {
        let is_here = |d: &&Dropped<'_>| d.base.hook == base.hook;
        let first = dropped_without_ours
            .iter()
            .filter(is_here)
            .filter(|d| !is_deliberate(d))
            .map(|d| d.at.position)
            .min();
        let is_incomplete = still_dropped
            .iter()
            .filter(is_here)
            .any(|d| !is_deliberate(d));
        if let Some(first) = first
            && is_incomplete
        {
            let (chain, position) = place(&without_ours, family, base, first);
            plan.accepts.push(Accept::Iptables {
                backend,
                family,
                position: position + 1,
                rules: rules(table, family, base.hook),
                chain,
            });
        }
        let deliberate = still_dropped.iter().filter(is_here);
        for Dropped { at, packet, .. } in deliberate.filter(|d| is_deliberate(d)) {
            let direction = if packet.iif == table.bridge {
                "-i"
            } else {
                "-o"
            };
            plan.obstacles.push(Obstacle {
                place: format!(
                    "{program}, chain {}, rule `{}`",
                    at.chain,
                    at.rule.as_deref().unwrap_or_default()
                ),
                packets: vec![packet.what],
                cure: format!(
                    "remove the rule, or put one before it: `{program} -I {} {direction} {} -j ACCEPT`",
                    at.chain, table.bridge
                ),
                certain: at.certain,
            });
        }
    }
}

/// Whether a rule about some packets in particular drops them. kvmc does not bypass such a rule. ufw's policy, which is a
/// chain of its own, does not count.
fn is_deliberate(dropped: &Dropped<'_>) -> bool {
    let is_policy_of_ufw = ["ufw-skip-to-policy-", "ufw6-skip-to-policy-"]
        .iter()
        .any(|start| dropped.at.chain.starts_with(start));
    dropped.at.is_selective && !is_policy_of_ufw
}

/// The chain for our rules, and how many rules of others stay before them. Docker has a chain that it does not touch.
/// ufw's own chains stay before our rules, so that ufw still denies what its user denies. Otherwise our rules go right
/// before the drop.
fn place(chains: &Chains, family: Family, base: &BaseChain, drop_at: usize) -> (String, usize) {
    const DOCKER: &str = "DOCKER-USER";
    if chains
        .jump(&base.chain, DOCKER)
        .is_some_and(|at| at <= drop_at)
    {
        return (DOCKER.to_owned(), 0);
    }
    let before = match family {
        Family::V4 => "ufw-before",
        Family::V6 => "ufw6-before",
    };
    let ufw = format!("{before}-{}", base.chain.to_ascii_lowercase());
    let position = match chains.jump(&base.chain, &ufw) {
        Some(at) if at < drop_at => at + 1,
        _ => drop_at,
    };
    (base.chain.clone(), position)
}

/// The matches of our rules, without chain and comment. Our own table decides what passes. These rules are as narrow as
/// that table, so that everything stays shut when somebody flushes it.
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

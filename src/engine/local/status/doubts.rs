//! Finds contradictions between the record and the host. It changes nothing.

use std::collections::BTreeMap;

use anyhow::Result;
use kvmc_netns::Links;

use crate::engine::local::Local;
use crate::hint::command;
use crate::ids::now;
use crate::network::{self, NetworkState, check_namespace};
use crate::node::{Identity, layers_seen};
use crate::state::{ClusterRecord, CutOffName, CutOffNames, Phase, read_json};
use crate::steps::Traces;

/// All contradictions, one a line with its cure. Something that cannot be read also gets a line. `network` is the
/// state of the network, if it was read already; `traces` are those of all clusters. No verb may have worked on the cluster
/// since.
pub(super) async fn doubts(
    local: &Local,
    record: &ClusterRecord,
    links: &Links,
    network: Option<NetworkState>,
    traces: Result<BTreeMap<String, Traces>>,
) -> Vec<String> {
    let dir = &local.dir();
    if record.phase != Phase::Stopped && check_namespace(record).is_err() {
        return vec!["it runs in another network namespace".to_owned()];
    }
    let mut all = Vec::new();
    let seen = match traces {
        Ok(mut traces) => traces.remove(&dir.name()).unwrap_or_default(),
        Err(e) => return vec![format!("the state of the host cannot be read: {e:#}")],
    };
    let network = match network {
        _ if record.phase != Phase::Up => None,
        Some(network) => Some(network),
        None => match network::look(record, links).await {
            Ok(network) => Some(network),
            Err(e) => {
                all.push(format!("the state of the network cannot be read: {e:#}"));
                None
            }
        },
    };
    let is_recorded = |node: &str| {
        let process = read_json::<Identity>(&dir.node(node).process());
        process.is_ok_and(|p| p.is_some_and(|p| p.open().is_some()))
    };
    all.extend(judge(record, &seen, network.as_ref(), is_recorded));
    all.extend(unconfined(local, &seen));
    if record.phase == Phase::Up {
        all.extend(way_out(local, record).await);
    }
    all.extend(local.left_outside(record).await);
    if record.phase == Phase::Up {
        let names = read_json::<CutOffNames>(&dir.cut_off()).ok().flatten();
        all.extend(cut_off(record, &names.unwrap_or_default(), now() as u64));
    }
    all
}

/// What lacks of a fork's way out.
async fn way_out(local: &Local, record: &ClusterRecord) -> Option<String> {
    match network::outlet::missing(record, &local.dir()).await {
        Ok(missing) => (!missing.is_empty()).then(|| {
            format!(
                "the fork lacks {}; {} restores that",
                missing.join(", "),
                local.command("up")
            )
        }),
        Err(e) => Some(format!("the fork's way out cannot be read: {e:#}")),
    }
}

/// What running QEMUs lack of their confinement, in one line.
fn unconfined(local: &Local, seen: &Traces) -> Option<String> {
    let mut lacking = BTreeMap::<String, Vec<&str>>::new();
    for (node, identity) in &seen.qemus {
        for layer in layers_seen(identity.pid) {
            lacking.entry(layer).or_default().push(node);
        }
    }
    let nodes = lacking.values().next()?.join(", ");
    let layers: Vec<_> = lacking.into_keys().collect();
    let doctor = local.command("doctor");
    Some(format!(
        "QEMU runs without {} of its own ({nodes}); {doctor} tells what this host lacks",
        layers.join(", ")
    ))
}

/// Names that nodes asked for in the last minutes and that were cut off. Pure.
fn cut_off(record: &ClusterRecord, names: &CutOffNames, now: u64) -> Vec<String> {
    const LATELY: u64 = 600;
    let lately = names.iter().filter(|n| n.time + LATELY > now);
    let told = |cut: &CutOffName| {
        let CutOffName { name, setting, .. } = cut;
        let dns = &record.spec.dns;
        let (flag, there, why) = match setting.as_str() {
            "dns.forward" => (
                "dns-forward",
                &dns.forward,
                "are not forwarded to the host's resolvers",
            ),
            _ => (
                "dns-rebind-ok",
                &dns.rebind_ok,
                "lead into the cluster's range, and their answers are cut off",
            ),
        };
        // The setting replaces what there is.
        let all: Vec<_> = there.iter().chain([name]).map(String::as_str).collect();
        let flags = all.iter().map(|name| format!(" --{flag} {name}"));
        let up = command(
            &record.spec.name,
            &format!("up{}", flags.collect::<String>()),
        );
        let all = all.join("\", \"");
        format!("names below {name} {why}; {setting} = [\"{all}\"] or {up} lets them through")
    };
    lately.map(told).collect()
}

/// Derives the contradictions, without access to the host.
fn judge(
    record: &ClusterRecord,
    seen: &Traces,
    network: Option<&NetworkState>,
    is_recorded: impl Fn(&str) -> bool,
) -> Vec<String> {
    let name = &record.spec.name;
    let (up, down) = (command(name, "up"), command(name, "down"));
    let mut all = Vec::new();
    match record.phase {
        Phase::Starting => all.push(format!(
            "`up` or `start` was cut short; {up} completes the cluster, {down} removes it"
        )),
        Phase::Removing => {
            all.push(format!("`down` was cut short; {down} removes the rest"));
        }
        Phase::Stopped if !seen.is_empty() => all.push(format!(
            "the cluster is stopped, but this host still has {seen}; {up} takes them over"
        )),
        Phase::Up if seen.keepers.is_empty() => all.push(format!(
            "no keeper runs, so the nodes have no DHCP and no supervision; {up} starts one"
        )),
        Phase::Stopped | Phase::Up => {}
    }
    for (node, identity) in &seen.qemus {
        let pid = identity.pid;
        if record.node(node).is_err() {
            all.push(format!(
                "{node} runs (pid {pid}) but is not a node of the cluster; {down} ends it too"
            ));
        } else if !is_recorded(node) {
            all.push(format!(
                "{node} runs (pid {pid}) but is not recorded; {up} records it"
            ));
        }
    }
    if let Some(network) = network {
        all.extend(missing(record, network, &up));
    }
    all
}

fn missing(record: &ClusterRecord, seen: &NetworkState, up: &str) -> Vec<String> {
    let mut all = Vec::new();
    for network in record.networks() {
        if !seen.bridges.contains(&network.bridge) {
            all.push(format!(
                "the bridge {} is missing or changed; {up} makes it again, and the keeper restores its ports",
                network.bridge
            ));
        }
        if seen.lost_tables.contains(&network.table) {
            all.push(format!(
                "NAT rules missing: no nft table inet {}; {up} restores it",
                network.table
            ));
        }
    }
    if !seen.forwarding {
        all.push(format!(
            "net.ipv4.ip_forward is off, so nodes cannot reach other networks; {up} switches it on"
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::record;

    fn qemu(node: &str) -> (String, Identity) {
        let identity = Identity {
            pid: 7,
            start_time: 0,
            boot_id: String::new(),
            mark: String::new(),
        };
        (node.to_owned(), identity)
    }

    #[test]
    fn names_that_are_cut_off_are_told_for_a_while() {
        let cut = |name: &str, setting: &str, time| CutOffName {
            name: name.to_owned(),
            setting: setting.to_owned(),
            time,
        };
        let names = [
            cut("corp.local", "dns.forward", 1000),
            cut("nip.io", "dns.rebind_ok", 900),
            cut("old.test", "dns.forward", 100),
        ];
        let up = |flags: &str| command("k80", &format!("up {flags}"));
        let mut record = record();
        record.spec.dns.rebind_ok = vec!["sslip.io".to_owned()];
        assert_eq!(
            cut_off(&record, &names.to_vec(), 1100),
            [
                format!(
                    "names below corp.local are not forwarded to the host's resolvers; dns.forward = [\"corp.local\"] or {} lets them through",
                    up("--dns-forward corp.local")
                ),
                format!(
                    "names below nip.io lead into the cluster's range, and their answers are cut off; dns.rebind_ok = [\"sslip.io\", \"nip.io\"] or {} lets them through",
                    up("--dns-rebind-ok sslip.io --dns-rebind-ok nip.io")
                ),
            ]
        );
    }

    #[test]
    fn each_contradiction_is_named_with_its_cure() {
        let mut record = record();
        record.phase = Phase::Up;
        let seen = Traces {
            qemus: vec![qemu("master0"), qemu("master9")],
            ..Traces::default()
        };
        let none = NetworkState {
            lost_tables: vec!["kvmc_k80".to_owned()],
            ..NetworkState::default()
        };
        let all = judge(&record, &seen, Some(&none), |_| false).join("\n");
        for words in [
            "no keeper runs",
            "master0 runs (pid 7) but is not recorded",
            "master9 runs (pid 7) but is not a node",
            "the bridge k80 is missing",
            "no nft table inet kvmc_k80",
            "ip_forward is off",
        ] {
            assert!(all.contains(words), "no `{words}` in {all}");
        }
        record.phase = Phase::Stopped;
        let all = judge(&record, &seen, None, |_| true).join("\n");
        assert!(
            all.contains(
                "the cluster is stopped, but this host still has a QEMU of master0 (pid 7)"
            ),
            "{all}"
        );
        assert_eq!(judge(&record, &Traces::default(), None, |_| true), [""; 0]);
    }
}

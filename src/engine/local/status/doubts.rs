//! Where the record and the host contradict each other. Looks, and changes nothing.

use kvmc_netns::Links;

use crate::engine::local::Local;
use crate::hint::command;
use crate::network::{self, NetworkState, check_namespace};
use crate::node::Identity;
use crate::state::{ClusterRecord, Lock, Phase, read_json};
use crate::steps::{Traces, traces};

/// All that does not fit, each in a line with what to do about it. What cannot be looked at is in a line
/// too. `network` is how that is, if it was looked at already.
pub(super) async fn doubts(
    local: &Local,
    record: &ClusterRecord,
    links: &Links,
    network: Option<NetworkState>,
) -> Vec<String> {
    let dir = &local.dir();
    if let Some(holder) = Lock::holder(dir) {
        return vec![format!("at work on it: {holder}")];
    }
    if record.phase != Phase::Stopped && check_namespace(record).is_err() {
        return vec!["it runs in another network namespace than this".to_owned()];
    }
    let mut all = Vec::new();
    let seen = match traces(&local.state, links).await {
        Ok(mut traces) => traces.remove(&dir.name()).unwrap_or_default(),
        Err(e) => return vec![format!("the host cannot be looked at: {e:#}")],
    };
    let network = match network {
        _ if record.phase != Phase::Up => None,
        Some(network) => Some(network),
        None => match network::look(record, links).await {
            Ok(network) => Some(network),
            Err(e) => {
                all.push(format!("the network cannot be looked at: {e:#}"));
                None
            }
        },
    };
    let is_recorded = |node: &str| {
        let process = read_json::<Identity>(&dir.node(node).process());
        process.is_ok_and(|p| p.is_some_and(|p| p.open().is_some()))
    };
    all.extend(judge(record, &seen, network.as_ref(), is_recorded));
    all
}

/// The pure part.
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
            "`up` or `start` did not come to its end; {up} goes on, {down} removes it"
        )),
        Phase::Removing => {
            all.push(format!("`down` did not come to its end; {down} goes on"));
        }
        Phase::Stopped if !seen.is_empty() => all.push(format!(
            "it was stopped, but there is {seen}; {up} takes that up"
        )),
        Phase::Up if seen.keepers.is_empty() => all.push(format!(
            "no keeper runs: no DHCP, and nobody attends the nodes; {up} starts it"
        )),
        Phase::Stopped | Phase::Up => {}
    }
    for (node, identity) in &seen.qemus {
        let pid = identity.pid;
        if record.node(node).is_err() {
            all.push(format!(
                "{node} runs (pid {pid}) and is no node of the cluster; {down} ends it too"
            ));
        } else if !is_recorded(node) {
            all.push(format!(
                "{node} runs (pid {pid}), and who started it did not write that down; {up} does"
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
                "the bridge {} is gone or changed; {up} makes it again, restart the nodes then",
                network.bridge
            ));
        }
        if seen.lost_tables.contains(&network.table) {
            all.push(format!(
                "NAT rules missing: no nft table inet {}; {up} applies it again",
                network.table
            ));
        }
    }
    if !seen.forwarding {
        all.push(format!(
            "net.ipv4.ip_forward is off: nodes reach nothing outside; {up} switches it on"
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
    fn what_contradicts_the_record_is_named_with_what_to_do() {
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
            "master0 runs (pid 7), and who started it",
            "master9 runs (pid 7) and is no node",
            "the bridge k80 is gone",
            "no nft table inet kvmc_k80",
            "ip_forward is off",
        ] {
            assert!(all.contains(words), "no `{words}` in {all}");
        }
        record.phase = Phase::Stopped;
        let all = judge(&record, &seen, None, |_| true).join("\n");
        assert!(
            all.contains("it was stopped, but there is a QEMU of master0 (pid 7)"),
            "{all}"
        );
        assert_eq!(judge(&record, &Traces::default(), None, |_| true), [""; 0]);
    }
}

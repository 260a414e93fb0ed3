//! Where the record and the host contradict each other. Looks, and changes nothing.

use kvmc_netns::Links;

use super::traces::{Traces, traces};
use crate::network::{self, NetworkState};
use crate::node::Identity;
use crate::state::{ClusterDir, ClusterRecord, Lock, Phase, State, read_json};

/// All that does not fit, each in a line with what to do about it. What cannot be looked at is in a line
/// too. `firewalls` is the network as it is, if that was looked at already.
pub(crate) async fn doubts(
    record: &ClusterRecord,
    state: &State,
    dir: &ClusterDir,
    links: &Links,
    firewalls: Option<NetworkState>,
) -> Vec<String> {
    if let Some(holder) = Lock::holder(dir) {
        return vec![format!("at work on it: {holder}")];
    }
    if record.phase != Phase::Stopped && network::check_namespace(record).is_err() {
        return vec!["it runs in another network namespace than this".to_owned()];
    }
    let mut all = Vec::new();
    let seen = match traces(state, links).await {
        Ok(mut traces) => traces.remove(&dir.name()).unwrap_or_default(),
        Err(e) => return vec![format!("the host cannot be looked at: {e:#}")],
    };
    let network = if record.phase == Phase::Up {
        let looked = match firewalls {
            Some(seen) => Ok(seen),
            None => network::look(record, links).await,
        };
        match looked {
            Ok(seen) => Some(seen),
            Err(e) => {
                all.push(format!("the network cannot be looked at: {e:#}"));
                None
            }
        }
    } else {
        None
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
    let mut all = Vec::new();
    match record.phase {
        Phase::Starting => all.push(
            "`up` or `start` did not come to its end; `kvmc up` goes on, `kvmc down` removes it"
                .to_owned(),
        ),
        Phase::Removing => {
            all.push("`down` did not come to its end; `kvmc down` goes on".to_owned());
        }
        Phase::Stopped if !seen.is_empty() => all.push(format!(
            "it was stopped, but there is {seen}; `kvmc up` takes that up"
        )),
        Phase::Up if seen.keepers.is_empty() => all.push(
            "no keeper runs: no DHCP, and nobody attends the nodes; `kvmc up` starts it".to_owned(),
        ),
        Phase::Stopped | Phase::Up => {}
    }
    for (node, identity) in &seen.qemus {
        if record.node(node).is_err() {
            all.push(format!(
                "{node} runs (pid {}) and is no node of the cluster; `kvmc down` ends it too",
                identity.pid
            ));
        } else if !is_recorded(node) {
            all.push(format!(
                "{node} runs (pid {}), and who started it did not write that down; `kvmc up` does",
                identity.pid
            ));
        }
    }
    if let Some(network) = network {
        all.extend(missing(record, network));
    }
    all
}

fn missing(record: &ClusterRecord, seen: &NetworkState) -> Vec<String> {
    let mut all = Vec::new();
    for network in record.networks() {
        if !seen.bridges.contains(&network.bridge) {
            all.push(format!(
                "the bridge {} is gone or changed; `kvmc up` makes it again, restart the nodes then",
                network.bridge
            ));
        }
        if seen.lost_tables.contains(&network.table) {
            all.push(format!(
                "NAT rules missing: no nft table inet {}; `kvmc up` applies it again",
                network.table
            ));
        }
    }
    if !seen.forwarding {
        all.push(
            "net.ipv4.ip_forward is off: nodes reach nothing outside; `kvmc up` switches it on"
                .to_owned(),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;

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

//! The faults of nodes in words, each with its cure.

use std::time::Duration;

use super::Local;
use crate::hint::command;
use crate::keeper::Keeper;
use crate::model::{Fault, FaultStatus, NodeView, SeenFault, Stage};
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, Phase};

/// Longest wait for the keeper. A verb's own work must not wait for one that hangs.
const KEEPER: Duration = Duration::from_millis(1500);

/// The faults of one node that the keeper sees.
pub(super) fn of(
    record: &ClusterRecord,
    dir: &ClusterDir,
    node: &NodeRecord,
    view: &NodeView,
) -> Vec<FaultStatus> {
    let told = |seen: &SeenFault| FaultStatus {
        what: seen.fault.to_string(),
        cure: cure(record, dir, node, &seen.fault),
        seen: seen.clone(),
    };
    let is_there = (Stage::Started..Stage::Ended).contains(&view.stage);
    let faults = view.faults.iter().filter(|_| is_there);
    faults.map(told).collect()
}

impl Local {
    /// Why a node cannot be reached, if the keeper knows; empty if nothing is known.
    pub(crate) async fn faults_in_the_way(&self, node: &str) -> Vec<FaultStatus> {
        let Ok(Some(record)) = self.load() else {
            return Vec::new();
        };
        let all = now(&record, &self.dir(), Some(node)).await.into_iter();
        all.map(|(_, fault)| fault)
            .filter(|fault| fault.seen.fault.is_in_the_way())
            .collect()
    }
}

/// The faults of a running cluster's nodes, or of one of them, as the keeper sees them now.
pub(super) async fn now(
    record: &ClusterRecord,
    dir: &ClusterDir,
    only: Option<&str>,
) -> Vec<(String, FaultStatus)> {
    if record.phase != Phase::Up {
        return Vec::new();
    }
    let keeper = Keeper::of(dir, &record.spec.name);
    let board = tokio::time::timeout(KEEPER, keeper.board_of_any_version()).await;
    // That no keeper answers is told by `status`.
    let Some((board, _)) = board.ok().and_then(Result::ok) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for node in &record.nodes {
        if only.is_none_or(|only| only == node.name)
            && let Some(view) = board.get(&node.name)
        {
            let faults = of(record, dir, node, view).into_iter();
            all.extend(faults.map(|fault| (node.name.clone(), fault)));
        }
    }
    all
}

/// What to do about a fault.
fn cure(record: &ClusterRecord, dir: &ClusterDir, node: &NodeRecord, fault: &Fault) -> String {
    let told = |verb: &str| command(&record.spec.name, verb);
    let reboot = || told(&format!("restart {}", node.name));
    let restart_agent = || {
        told(&format!(
            "ssh {} sudo systemctl restart kvmc-agent",
            node.name
        ))
    };
    match fault {
        Fault::Port { tap, what, .. } if what == "it is gone" => {
            format!("another program removed {tap}; {} makes it again", reboot())
        }
        Fault::Port { bridge, what, .. } if what.ends_with("is gone") => format!(
            "another program removed {bridge}; {} makes it again, and the keeper restores its ports",
            told("up")
        ),
        Fault::Port { tap, bridge, .. } => format!(
            "tell the program that changes it to leave {tap} alone, then `ip link set {tap} master {bridge} up`"
        ),
        Fault::Route { .. } => way_back(record, fault),
        Fault::Stranger {
            address,
            node: Some(other),
            ..
        } => format!("give {other} back its own address, and remove {address} there"),
        Fault::Stranger { .. } => "give that machine another address".to_owned(),
        Fault::Silent { .. } => format!(
            "its network is down or it stands still; {} shows what it wrote last, and {} boots it again",
            dir.node(&node.name).console_log().display(),
            reboot()
        ),
        Fault::Ssh { refused: true, .. } => format!(
            "sshd is stopped or listens on another port; `systemctl start ssh` there starts it, and {} boots the node again",
            reboot()
        ),
        Fault::Ssh { refused: false, .. } => {
            "a firewall on this host or in the node drops packets to that port".to_owned()
        }
        Fault::HostKey { key, .. } => {
            let key: Vec<_> = key.split(' ').take(2).collect();
            format!(
                "ssh refuses it. If you made new keys there, replace the lines of {name} in {} and {} by `{name},{} {}`. To have kvmc's keys again, remove /etc/ssh/ssh_host_* there, then {}",
                record.project.join("known_hosts").display(),
                dir.artifact("known_hosts").display(),
                node.address(),
                key.join(" "),
                reboot(),
                name = node.name,
            )
        }
        Fault::Agent { runs: false } => format!("{} starts it again", restart_agent()),
        Fault::Agent { runs: true } => {
            format!(
                "the node has too little CPU, or the agent hangs; {} restarts it",
                restart_agent()
            )
        }
        Fault::Other => "use the kvmc that started the keeper".to_owned(),
    }
}

/// How packets to a node find their way back.
fn way_back(record: &ClusterRecord, fault: &Fault) -> String {
    let Fault::Route {
        address,
        bridge,
        rule,
        table,
        destination,
        ..
    } = fault
    else {
        return String::new();
    };
    let network = record.networks().find(|n| n.bridge == *bridge);
    let range = network.and_then(|n| match address.is_ipv4() {
        true => Some(n.subnet.to_string()),
        false => n.prefix6.map(|p| p.to_string()),
    });
    let range = range.unwrap_or_else(|| address.to_string());
    let (ip, host) = match address.is_ipv4() {
        true => ("ip", "/32"),
        false => ("ip -6", "/128"),
    };
    /// The number of the main table.
    const MAIN: u32 = 254;
    let own = format!("let the program that made it leave {range} out");
    match (rule, table, destination) {
        (Some(priority @ 1..), ..) => format!(
            "{own}, or `{ip} rule add to {range} lookup main priority {}` goes before it",
            priority - 1
        ),
        (None, Some(MAIN), Some(route)) if !route.ends_with(host) => {
            format!("{own}, or `{ip} route add {address} dev {bridge}` leads to the node")
        }
        (None, Some(MAIN), Some(route)) => {
            format!("`{ip} route replace {route} dev {bridge}` leads to the node")
        }
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::samples::record;
    use crate::state::State;

    fn told(fault: &Fault) -> String {
        let record = record();
        let dir = State::at(Path::new("/s")).cluster("k80");
        cure(&record, &dir, record.node("master0").unwrap(), fault)
    }

    fn route(rule: Option<u32>, table: u32, destination: &str) -> Fault {
        Fault::Route {
            address: [192, 168, 80, 2].into(),
            bridge: "k80".to_owned(),
            way: "leave by tun0".to_owned(),
            rule,
            table: Some(table),
            destination: Some(destination.to_owned()),
        }
    }

    #[test]
    fn each_way_of_losing_the_route_has_its_cure() {
        for (fault, cure) in [
            (
                route(Some(1000), 100, "0.0.0.0/0"),
                "`ip rule add to 192.168.80.0/24 lookup main priority 999`",
            ),
            (
                route(None, 254, "192.168.80.0/25"),
                "`ip route add 192.168.80.2 dev k80`",
            ),
            (
                route(None, 254, "192.168.80.2/32"),
                "`ip route replace 192.168.80.2/32 dev k80`",
            ),
            (
                route(Some(0), 100, "0.0.0.0/0"),
                "let the program that made it leave 192.168.80.0/24 out",
            ),
        ] {
            let told = told(&fault);
            assert!(told.contains(cure), "{told}");
        }
    }

    #[test]
    fn another_host_key_names_the_line_and_its_files() {
        let told = told(&Fault::HostKey {
            address: [192, 168, 80, 2].into(),
            key: "ssh-ed25519 AAAA root@master0".to_owned(),
            fingerprint: "SHA256:x".to_owned(),
        });
        for words in [
            "/project/known_hosts",
            "/s/clusters/k80/known_hosts",
            "`master0,192.168.80.2 ssh-ed25519 AAAA`",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }
}

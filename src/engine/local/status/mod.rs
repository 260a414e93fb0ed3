//! `status`: describes what it sees, and does not fail on what is broken.

mod doubts;
mod firewall;
mod node;

pub(super) use self::node::look as node_status;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use kvmc_netns::Links;

use super::Local;
use super::reach::ties;
use super::up::pending;
use crate::keeper::Keeper;
use crate::model::{
    Board, ClusterStatus, FaultStatus, NetworkStatus, NodeStatus, NodeView, RestoredStatus, SCHEMA,
    UsageStatus, VitalsStatus,
};
use crate::network::Restored;
use crate::node::MemoryUsage;
use crate::state::{ClusterDir, ClusterRecord, Found, Lock, Phase, is_denied, read_json};
use crate::steps::{Traces, traces};

/// A keeper that hangs must not make `status` hang.
const KEEPER: Duration = Duration::from_millis(1500);

/// See [`crate::engine::Lifecycle::status`].
pub(super) async fn status(local: &Local) -> Result<ClusterStatus> {
    let dir = local.dir();
    let links = Links::open()?;
    let mut doubts = Vec::new();
    let record = match Found::look(&dir) {
        Found::Whole(record) => record,
        Found::Copy(copy, error) => {
            let fix = local.command("doctor --fix");
            doubts.push(format!(
                "{error:#}; the status is that of its last good copy, which {fix} restores"
            ));
            copy
        }
        // Another user's cluster may be whole; nothing is known of it.
        Found::NotOurs(error) if is_denied(&error) => return Err(error),
        Found::Unreadable(error) | Found::NotOurs(error) => {
            return without_record(local, Some(error), &links).await;
        }
        Found::Nothing => return without_record(local, None, &links).await,
    };
    // While another verb works on the rules, their state means nothing.
    let holder = Lock::holder(&dir);
    let network = async {
        match &holder {
            Some(_) => None,
            None => firewall::look(local, &record, &links).await,
        }
    };
    let (network, (board, traces, nodes)) = tokio::join!(network, nodes(local, &record));
    let firewall = network.as_ref().map(|seen| firewall::view(seen, &dir));
    // What was read while a verb worked is neither from before it nor from after it.
    match holder.or_else(|| Lock::holder(&dir)) {
        Some(holder) => doubts.push(format!("another verb works on it: {holder}")),
        None => doubts.extend(doubts::doubts(local, &record, &links, network, traces).await),
    }
    if let Some((_, true)) = board {
        let up = local.command("up");
        doubts.push(format!(
            "the keeper is of another version of kvmc; {up} replaces it without disturbing the nodes"
        ));
    }
    let board = board.map(|(board, _)| board);
    doubts.extend(board.as_ref().and_then(|b| old_agents(b, local)));
    doubts.extend(other_machines(&record, local));
    doubts.extend(board.as_ref().and_then(|b| idle_kernels(b, local)));
    for node in &nodes {
        let told = |f: &FaultStatus| format!("{}: {}; {}", node.name, f.what, f.cure);
        doubts.extend(node.faults.iter().map(told));
    }
    Ok(ClusterStatus {
        schema: SCHEMA,
        cluster: local.cluster.clone(),
        phase: record.phase.name().to_owned(),
        accelerator: Some(record.accelerator.clone()),
        bridge: Some(record.main().bridge.clone()),
        subnet: Some(record.main().subnet),
        image: record.nodes.first().map(|n| n.base.image().to_owned()),
        snapshot: snapshot(&record, &dir),
        fork_of: record.host.fork.as_ref().map(|fork| fork.of.clone()),
        suspended: record.phase == Phase::Stopped && dir.suspended().exists(),
        keeper: board.is_some(),
        networks: networks(&record),
        firewall,
        links_restored: links_restored(&record, &dir),
        forwards: record.forwards.iter().map(ToString::to_string).collect(),
        ties: ties(&dir),
        nodes,
        bridges: Vec::new(),
        doubts,
    })
}

/// The keeper's board, with whether the keeper is of another version; the traces of all clusters; and the nodes.
async fn nodes(
    local: &Local,
    record: &ClusterRecord,
) -> (
    Option<(Board, bool)>,
    Result<BTreeMap<String, Traces>>,
    Vec<NodeStatus>,
) {
    let dir = local.dir();
    let keeper = Keeper::of(&dir, &local.cluster);
    let board = tokio::time::timeout(KEEPER, keeper.board_of_any_version());
    // The kernel refuses a second dump on a netlink socket that has one, and the network is looked at meanwhile.
    let traces = async { traces(&local.state, &Links::open()?).await };
    let (board, traces) = tokio::join!(board, traces);
    let board = board.ok().and_then(Result::ok);
    let view = board.as_ref().map(|(board, _)| board);
    let nodes = record.nodes.iter();
    let nodes = nodes.map(|n| node::look(record, n, &dir, view)).collect();
    (board, traces, nodes)
}

/// The snapshot that the cluster goes on from, if that is still there.
fn snapshot(record: &ClusterRecord, dir: &ClusterDir) -> Option<String> {
    let name = record.snapshot.clone();
    name.filter(|name| dir.snapshot(name).exists())
}

/// Names the nodes that run with other RAM or vcpus than recorded.
fn other_machines(record: &ClusterRecord, local: &Local) -> Option<String> {
    let nodes = pending(record, &local.dir());
    let restart = local.command(&format!("restart {}", nodes.join(" ")));
    (!nodes.is_empty()).then(|| {
        format!(
            "RAM and vcpus of {} change at the next start; {restart} restarts them",
            nodes.join(", ")
        )
    })
}

/// The last repair of bridges, ports and routes since the keeper started.
fn links_restored(record: &ClusterRecord, dir: &ClusterDir) -> Option<RestoredStatus> {
    if record.phase == Phase::Stopped {
        return None;
    }
    let restored = read_json::<Restored>(&dir.links()).ok().flatten()?;
    let Restored { time, times, what } = restored;
    Some(RestoredStatus { time, times, what })
}

impl Local {
    /// Measures how the nodes' memory is shared. It takes milliseconds for each GB, so [`status`] leaves it out.
    pub(crate) fn measure_memory(&self, status: &mut ClusterStatus) {
        let pids: Vec<_> = status.nodes.iter().map(|node| node.pid).collect();
        let measured: Vec<_> = std::thread::scope(|scope| {
            let of = |pid: Option<i32>| scope.spawn(move || pid.and_then(MemoryUsage::of));
            let tasks: Vec<_> = pids.into_iter().map(of).collect();
            tasks.into_iter().map(|t| t.join().ok().flatten()).collect()
        });
        for (node, memory) in status.nodes.iter_mut().zip(measured) {
            if let Some(memory) = memory {
                node.usage.pss = Some(memory.pss);
                node.usage.shared = Some(memory.shared);
                node.usage.private = Some(memory.private);
            }
        }
    }
}

/// Names the nodes whose agent is of an earlier kvmc. The agent lies on the node's own disk.
fn old_agents(board: &Board, local: &Local) -> Option<String> {
    let old = board.iter().filter(|(_, view)| view.old_agent);
    let names: Vec<_> = old.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let (down, up) = (local.command("down"), local.command("up"));
        format!(
            "the agent of {} is of an earlier kvmc, and writes hostname, hosts, resolv.conf, keys and password again at each boot; {down} (which removes the disks) and {up} make nodes with the new one",
            names.join(", ")
        )
    })
}

/// Names the nodes with a kernel that their user installed and that does not boot, since QEMU gets the template's.
fn idle_kernels(board: &Board, local: &Local) -> Option<String> {
    let of =
        |(name, view): (&String, &NodeView)| Some(format!("{} in {name}", view.kernel.as_ref()?));
    let kernels: Vec<_> = board.iter().filter_map(of).collect();
    (!kernels.is_empty()).then(|| {
        let up = local.command("up --image NAME");
        format!(
            "a kernel that was installed does not boot: {}; nodes of a cloud image ({up}) boot their own, nodes of a template the template's (docs/TEMPLATE.md)",
            kernels.join(", ")
        )
    })
}

/// The traces of a cluster whose record is missing.
async fn without_record(
    local: &Local,
    error: Option<anyhow::Error>,
    links: &Links,
) -> Result<ClusterStatus> {
    let seen = traces(&local.state, links).await.unwrap_or_default();
    let seen = seen.get(&local.cluster).cloned().unwrap_or_default();
    let holder = Lock::holder(&local.dir());
    if error.is_none() && seen.is_empty() && holder.is_none() {
        return Err(local.nothing_there());
    }
    let why = match (&error, &holder) {
        (Some(error), _) => format!("{error:#}"),
        (None, Some(holder)) => format!("it has no record yet; another verb works on it: {holder}"),
        (None, None) => format!(
            "its record is missing; {} removes the remains",
            local.command("down")
        ),
    };
    let nodes = seen.qemus.iter().map(|(name, identity)| NodeStatus {
        name: name.clone(),
        role: None,
        state: "running".to_owned(),
        pid: Some(identity.pid),
        machine: None,
        paused: None,
        vitals: VitalsStatus::default(),
        usage: UsageStatus::default(),
        last_end: None,
        faults: Vec::new(),
    });
    Ok(ClusterStatus {
        schema: SCHEMA,
        cluster: local.cluster.clone(),
        phase: "unknown".to_owned(),
        accelerator: None,
        bridge: None,
        subnet: None,
        image: None,
        snapshot: None,
        fork_of: None,
        suspended: false,
        keeper: !seen.keepers.is_empty(),
        networks: Vec::new(),
        firewall: None,
        links_restored: None,
        forwards: Vec::new(),
        ties: Vec::new(),
        nodes: nodes.collect(),
        bridges: seen.bridges.clone(),
        doubts: vec![why],
    })
}

fn networks(record: &ClusterRecord) -> Vec<NetworkStatus> {
    record
        .networks()
        .map(|n| NetworkStatus {
            name: n.name.clone(),
            bridge: n.bridge.clone(),
            subnet: n.subnet,
            gateway: n.gateway,
            prefix6: n.prefix6,
            gateway6: n.gateway6(),
            isolated: n.isolated,
            mtu: n.mtu,
        })
        .collect()
}

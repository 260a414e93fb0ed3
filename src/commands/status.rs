//! `status`: derived from what is seen; nothing that is broken makes it fail.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::Scene;
use crate::keeper::{Board, Keeper, Request, Stage};
use crate::node::{Identity, vcpus};
use crate::output;
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, read_json};

/// A keeper that hangs must not make this one hang.
const KEEPER: Duration = Duration::from_millis(500);

struct Row {
    state: String,
    pid: Option<i32>,
}

pub(super) async fn run(scene: &Scene, as_json: bool) -> Result<ExitCode> {
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let record = ClusterRecord::require(&dir, &name)?;
    let keeper = Keeper::of(&dir, &name);
    let board = match tokio::time::timeout(KEEPER, keeper.ask(&Request::Board)).await {
        Ok(Ok(board)) => Some(board),
        _ => None,
    };
    let rows: Vec<_> = record
        .nodes
        .iter()
        .map(|n| (n, look(&dir, n, board.as_ref())))
        .collect();
    if as_json {
        let nodes: Vec<_> = rows
            .iter()
            .map(|(n, row)| {
                json!({
                    "name": n.name, "role": n.role, "state": row.state, "address": n.address,
                    "mac": n.mac, "vcpus": vcpus(n.vcpus, &record.accelerator), "ram": n.ram,
                    "disk": n.disk, "pid": row.pid, "nics": nics(&record, n),
                })
            })
            .collect();
        let whole = json!({
            "cluster": name, "phase": record.phase, "accelerator": record.accelerator,
            "bridge": record.network.bridge, "subnet": record.network.subnet,
            "image": record.image, "keeper": board.is_some(), "networks": networks(&record),
            "forwards": record.forwards, "nodes": nodes,
        });
        output::data(&format!("{whole:#}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let keeper = if board.is_some() {
        "running"
    } else {
        "not running"
    };
    output::talk(&format!(
        "cluster {name} on {} ({}), {}, keeper {keeper}",
        record.network.bridge,
        record.network.subnet,
        record.accelerator.name()
    ));
    let table: Vec<_> = rows
        .iter()
        .map(|(n, row)| {
            let vcpus = vcpus(n.vcpus, &record.accelerator).to_string();
            vec![
                n.name.clone(),
                row.state.clone(),
                n.address.to_string(),
                vcpus,
                n.ram.to_string(),
                n.disk.to_string(),
            ]
        })
        .collect();
    output::data(&output::table(
        &["NODE", "STATE", "ADDRESS", "VCPUS", "RAM", "DISK"],
        &table,
    ));
    Ok(ExitCode::SUCCESS)
}

fn networks(record: &ClusterRecord) -> Vec<Value> {
    record
        .networks()
        .map(|n| {
            json!({
                "name": n.name, "bridge": n.bridge, "subnet": n.subnet, "gateway": n.gateway,
                "prefix6": n.prefix6, "gateway6": n.gateway6(), "isolated": n.isolated, "mtu": n.mtu,
            })
        })
        .collect()
}

fn nics(record: &ClusterRecord, node: &NodeRecord) -> Vec<Value> {
    record
        .nics(node)
        .map(|(network, nic)| {
            json!({
                "network": network.name, "address": nic.address, "mac": nic.mac,
                "address6": network.address6(nic.mac), "tap": nic.tap,
            })
        })
        .collect()
}

fn look(dir: &ClusterDir, node: &NodeRecord, board: Option<&Board>) -> Row {
    let recorded = match read_json::<Identity>(&dir.node(&node.name).process()) {
        Ok(recorded) => recorded,
        Err(e) => {
            return Row {
                state: format!("unknown ({e:#})"),
                pid: None,
            };
        }
    };
    let Some(identity) = recorded else {
        return Row {
            state: "stopped".to_owned(),
            pid: None,
        };
    };
    let view = board.and_then(|b| b.get(&node.name));
    if identity.open().is_none() {
        let how = view.filter(|v| v.stage == Stage::Ended && !v.note.is_empty());
        let how = how.map_or_else(|| "stale record".to_owned(), |v| v.note.clone());
        return Row {
            state: format!("stopped ({how})"),
            pid: None,
        };
    }
    let state = match view {
        Some(view) if view.stage == Stage::Ready => "ready".to_owned(),
        Some(view) => format!("running ({})", view.stage.name()),
        None => "running".to_owned(),
    };
    Row {
        state,
        pid: Some(identity.pid),
    }
}

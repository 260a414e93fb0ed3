//! Addresses of nodes and results of copies.

use anyhow::Result;

use super::{data, json, table, talk};
use crate::model::{CopyReport, Exit, NodeAddresses, SyncReport, TieReport};

/// Prints addresses: of one node one a line, of several a table, or JSON.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn addresses(nodes: &[NodeAddresses], is_one: bool, as_json: bool) -> Result<()> {
    if as_json {
        return json(&nodes);
    }
    data(&addresses_text(nodes, is_one));
    Ok(())
}

pub(super) fn addresses_text(nodes: &[NodeAddresses], is_one: bool) -> String {
    let mut rows = Vec::new();
    for node in nodes {
        for nic in &node.addresses {
            let all = [Some(nic.address.into()), nic.address6.map(Into::into)];
            rows.extend(all.into_iter().flatten().map(|address: std::net::IpAddr| {
                vec![node.node.clone(), nic.network.clone(), address.to_string()]
            }));
        }
    }
    match is_one {
        true => rows
            .iter()
            .filter_map(|row| Some(format!("{}\n", row.last()?)))
            .collect(),
        false => table(&["NODE", "NETWORK", "ADDRESS"], &rows),
    }
}

/// Tells what became of the user's ssh configuration.
pub(crate) fn included(path: &std::path::Path, wanted: bool, changed: bool) {
    let path = path.display();
    talk(&match (wanted, changed) {
        (true, true) => format!("{path} includes the nodes of the cluster"),
        (true, false) => format!("{path} includes the nodes of the cluster already"),
        (false, true) => format!("{path} includes the cluster no more"),
        (false, false) => format!("{path} does not include the cluster"),
    });
}

/// Prints the copies that failed.
pub(crate) fn copies(report: &CopyReport) -> Exit {
    for failure in &report.failed {
        talk(&format!("error: {}: {}", failure.node, failure.why));
    }
    match report.failed.len() {
        0 => Exit::Done,
        failed if failed == report.number => Exit::Failed,
        _ => Exit::SomeNodes,
    }
}

/// Prints which folders are mounted or shared, and which failed.
pub(crate) fn tied(report: &TieReport) -> Exit {
    for made in &report.made {
        talk(&made.to_string());
    }
    for failure in &report.failed {
        talk(&format!("error: {}: {}", failure.node, failure.why));
    }
    match report.failed.len() {
        0 => Exit::Done,
        failed if failed == report.number => Exit::Failed,
        _ => Exit::SomeNodes,
    }
}

/// Prints what `sync` would do, and what has failed; with `as_json` everything.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn synced(report: &SyncReport, as_json: bool) -> Result<Exit> {
    if as_json {
        json(&sync_objects(report))?;
    } else {
        for node in &report.nodes {
            let planned = node.planned.iter();
            let lines = planned.map(|(what, path)| format!("{}: {what} {path}\n", node.node));
            data(&lines.collect::<String>());
        }
    }
    for node in &report.nodes {
        for (path, why) in &node.failed {
            talk(&format!("error: {}: `{path}`: {why}", node.node));
        }
        let more = node.failures.saturating_sub(node.failed.len());
        if more > 0 {
            talk(&format!("error: {}: {more} more paths", node.node));
        }
    }
    for lost in &report.lost {
        talk(&format!("error: {}: {}", lost.node, lost.why));
    }
    let failed = report.nodes.iter().filter(|n| n.failures > 0).count() + report.lost.len();
    Ok(match failed {
        0 => Exit::Done,
        failed if failed == report.number => Exit::Failed,
        _ => Exit::SomeNodes,
    })
}

pub(super) fn sync_objects(report: &SyncReport) -> Vec<serde_json::Value> {
    let nodes = report.nodes.iter().map(|node| {
        let pairs = |name: &str, pairs: &[(String, String)]| -> Vec<_> {
            let pairs = pairs.iter();
            pairs
                .map(|(a, b)| match name {
                    "do" => serde_json::json!({"do": a, "path": b}),
                    _ => serde_json::json!({"path": a, "why": b}),
                })
                .collect()
        };
        serde_json::json!({
            "node": node.node,
            "copied": node.copied,
            "bytes": node.bytes,
            "removed": node.removed,
            "failures": node.failures,
            "failed": pairs("why", &node.failed),
            "planned": pairs("do", &node.planned),
            "seconds": (node.seconds * 1000.0).round() / 1000.0,
            "error": null,
        })
    });
    let lost = report
        .lost
        .iter()
        .map(|lost| serde_json::json!({"node": lost.node, "error": lost.why}));
    nodes.chain(lost).collect()
}

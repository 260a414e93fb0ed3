//! `forward`: ports of the host that lead to nodes, seen and changed while the cluster runs.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use super::Scene;
use crate::cli::ForwardCommand;
use crate::cluster;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::network;
use crate::output;
use crate::spec::Forward;
use crate::state::{ClusterRecord, Lock};

pub(super) async fn run(scene: &Scene, command: ForwardCommand) -> Result<ExitCode> {
    let name = scene.name()?;
    let dir = scene.state.cluster(&name);
    let record = ClusterRecord::require(&dir, &name)?;
    match command {
        ForwardCommand::Ls { json } => list(&record, json),
        ForwardCommand::Add { forwards } => {
            let forwards = forwards
                .iter()
                .map(|text| text.parse().map_err(anyhow::Error::msg))
                .collect::<Result<Vec<Forward>>>()?;
            let interrupt = Interrupt::listen()?;
            let (mut record, _lock) = take(scene, &name, "forward add").await?;
            let made = cluster::add_forwards(&mut record, &forwards, &dir);
            if !unless_interrupted(made, interrupt).await? {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            for forward in &forwards {
                output::talk(&format!("{forward} leads to {}", target(&record, forward)));
            }
        }
        ForwardCommand::Rm { forwards } => {
            let interrupt = Interrupt::listen()?;
            let (mut record, _lock) = take(scene, &name, "forward rm").await?;
            let made = cluster::remove_forwards(&mut record, &forwards, &dir);
            if !unless_interrupted(made, interrupt).await? {
                return Ok(ExitCode::from(INTERRUPTED));
            }
            output::talk(&format!("removed {}", forwards.join(", ")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// False when it was told to stop before the change was whole.
async fn unless_interrupted(
    change: impl Future<Output = Result<()>>,
    mut interrupt: Interrupt,
) -> Result<bool> {
    tokio::select! {
        biased;
        changed = change => changed.map(|()| true),
        () = interrupt.wait() => {
            output::talk("interrupted; `kvmc up` completes what the forwards were to be, `kvmc forward ls` shows it");
            Ok(false)
        }
    }
}

/// The cluster's record, under its lock.
async fn take(scene: &Scene, name: &str, verb: &str) -> Result<(ClusterRecord, Lock)> {
    let dir = scene.state.cluster(name);
    let lock = Lock::take(&dir, verb, scene.wait).await?;
    let Some(record) = ClusterRecord::load(&dir)? else {
        lock.abandon();
        return ClusterRecord::require(&dir, name)
            .map(|_| ())
            .and_then(|()| Err(anyhow::anyhow!("cluster `{name}` is being made")))
            .context("the cluster went away meanwhile");
    };
    network::check_namespace(&record)?;
    Ok((record, lock))
}

fn target(record: &ClusterRecord, forward: &Forward) -> String {
    let address = record.node(&forward.node).map(|n| n.address.to_string());
    format!("{}:{}", address.unwrap_or_default(), forward.node_port)
}

fn list(record: &ClusterRecord, as_json: bool) {
    if as_json {
        let all: Vec<_> = record
            .forwards
            .iter()
            .map(|f| {
                json!({
                    "protocol": f.protocol.name(), "address": f.address, "port": f.port,
                    "node": f.node, "node_port": f.node_port, "target": target(record, f),
                })
            })
            .collect();
        output::data(&format!("{:#}\n", json!(all)));
        return;
    }
    let rows: Vec<_> = record
        .forwards
        .iter()
        .map(|f| {
            let address = f.address.map_or_else(|| "*".to_owned(), |a| a.to_string());
            vec![
                format!("{address}:{}/{}", f.port, f.protocol.name()),
                f.node.clone(),
                target(record, f),
            ]
        })
        .collect();
    output::data(&output::table(&["HOST", "NODE", "LEADS TO"], &rows));
}

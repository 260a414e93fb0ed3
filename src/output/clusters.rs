//! The table of all clusters.

use anyhow::Result;

use super::{data, json, table, talk};
use crate::ids::age;
use crate::model::{ClusterList, ClusterRow};
use crate::spec::Bytes;

/// Prints all clusters.
///
/// # Errors
/// Fails if JSON cannot represent a value.
pub(crate) fn clusters(list: &ClusterList, as_json: bool) -> Result<()> {
    if as_json {
        return json(list);
    }
    data(&clusters_text(list));
    if let Some(hint) = &list.hint {
        talk(&format!("there is no cluster\n  hint: {hint}"));
    }
    Ok(())
}

/// The table, and below it what is wrong with records.
pub(super) fn clusters_text(list: &ClusterList) -> String {
    if list.clusters.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = list.clusters.iter().map(row).collect();
    let header = [
        "CLUSTER", "PHASE", "NODES", "BRIDGE", "SUBNET", "RAM", "AGE", "PROJECT",
    ];
    let mut text = table(&header, &rows);
    for cluster in &list.clusters {
        if let Some(why) = &cluster.why {
            text += &format!("  {}: {why}\n", cluster.cluster);
        }
    }
    text
}

fn row(cluster: &ClusterRow) -> Vec<String> {
    let unknown = || "-".to_owned();
    let total = cluster
        .nodes
        .map_or_else(|| "?".to_owned(), |n| n.to_string());
    vec![
        cluster.cluster.clone(),
        cluster.phase.clone(),
        format!("{}/{total}", cluster.running),
        cluster.bridge.clone().unwrap_or_else(unknown),
        cluster.subnet.map_or_else(unknown, |s| s.to_string()),
        cluster
            .ram
            .map_or_else(unknown, |ram| Bytes(ram).to_string()),
        cluster.created.map_or_else(unknown, age),
        match (&cluster.fork_of, &cluster.project) {
            // Its files are in the state folder.
            (Some(of), _) => format!("(fork of {of})"),
            (None, project) => project
                .as_ref()
                .map_or_else(unknown, |p| p.display().to_string()),
        },
    ]
}

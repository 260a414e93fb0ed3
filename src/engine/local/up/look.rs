//! Finds what exists of a cluster.

use std::collections::BTreeSet;

use anyhow::Result;
use kvmc_netns::Links;

use crate::network;
use crate::plan::Seen;
use crate::project;
use crate::state::{ClusterDir, ClusterRecord, Phase};
use crate::steps::{growth, keeper, node, record, scope};

/// Compares the host with the record `wanted`.
///
/// # Errors
/// Fails if the state of the host cannot be read.
pub(super) async fn look(
    wanted: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    dir: &ClusterDir,
    links: &Links,
) -> Result<Seen> {
    let names = |fits: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        let all = wanted.nodes.iter().map(|n| n.name.clone());
        all.filter(|n| fits(n)).collect()
    };
    let is_wanted = |name: &str| wanted.nodes.iter().any(|n| n.name == name);
    let recorded = existing.iter().flat_map(|r| &r.nodes);
    Ok(Seen {
        exists: existing.is_some(),
        recorded: record::look(wanted, existing, dir)?,
        lost_files: match existing {
            Some(_) => project::look(wanted, dir)?,
            None => Vec::new(),
        },
        network: network::look(wanted, links).await?,
        lacks_outlet: !network::outlet::is_there(wanted, dir).await?,
        keeper: keeper::look(dir).await,
        systemd_scope: scope::look(dir),
        names_untold: !network::names::are_known(wanted),
        // A new keeper begins with the recorded forwards, whatever has become of the ports. After an interrupted verb,
        // nobody knows which forwards the keeper has.
        forwards: existing
            .filter(|r| r.phase == Phase::Up)
            .map(|r| r.forwards.clone())
            .unwrap_or_default(),
        disks: names(&|n| dir.node(n).disk().exists()),
        running: wanted
            .nodes
            .iter()
            .filter(|n| node::look(dir, &n.name, &n.uuid).is_some())
            .map(|n| n.name.clone())
            .collect(),
        begun: names(&|n| dir.node(n).process().exists()),
        growing: wanted
            .nodes
            .iter()
            .filter(|n| growth::is_due(n, dir) && node::look(dir, &n.name, &n.uuid).is_some())
            .map(|n| n.name.clone())
            .collect(),
        surplus: recorded.filter(|n| !is_wanted(&n.name)).cloned().collect(),
    })
}

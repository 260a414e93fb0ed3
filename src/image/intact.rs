//! What nodes lie on is what it was: looked at before any of them starts.

use std::collections::BTreeSet;

use anyhow::{Error, Result};
use kvmc_images::Store;

use crate::hint::advise;
use crate::state::{ClusterRecord, State};
use crate::warm;

/// Refuses to go on when an image or a frozen machine's disk has changed.
///
/// # Errors
/// The file, with the digests expected and found, and every node that lies on it.
pub(crate) fn check_intact<'a>(
    state: &State,
    images: impl Iterator<Item = &'a str>,
    record: Option<&ClusterRecord>,
) -> Result<()> {
    let (store, frozen) = (Store::open(state.root()), warm::Store::open(state.root()));
    for id in images.collect::<BTreeSet<_>>() {
        let lies_on = |r: &ClusterRecord, n: usize| {
            r.nodes.get(n).is_some_and(|node| node.base.image() == id)
        };
        store
            .check_intact(id)
            .map_err(|e| with_dependents(e.into(), state, lies_on))?;
    }
    let nodes = record.iter().flat_map(|r| &r.nodes);
    for id in nodes
        .filter_map(|n| n.base.frozen())
        .collect::<BTreeSet<_>>()
    {
        let lies_on = |r: &ClusterRecord, n: usize| {
            let node = r.nodes.get(n);
            node.is_some_and(|node| node.base.frozen() == Some(id))
        };
        frozen
            .check_disk(id)
            .map_err(|e| with_dependents(e, state, lies_on))?;
    }
    Ok(())
}

/// The images of a cluster, and what else its nodes lie on.
///
/// # Errors
/// As [`check_intact`].
pub(crate) fn check_cluster_intact(state: &State, record: &ClusterRecord) -> Result<()> {
    let images = record.nodes.iter().map(|n| n.base.image());
    check_intact(state, images, Some(record))
}

/// Adds the nodes, of all clusters, whose disks are of no use without it.
fn with_dependents(
    error: Error,
    state: &State,
    lies_on: impl Fn(&ClusterRecord, usize) -> bool,
) -> Error {
    let mut dependents = Vec::new();
    for name in state.cluster_names() {
        let Ok(Some(record)) = ClusterRecord::load(&state.cluster(&name)) else {
            continue;
        };
        let nodes = record.nodes.iter().enumerate();
        let nodes = nodes.filter(|(i, _)| lies_on(&record, *i));
        let nodes: Vec<_> = nodes.map(|(_, n)| n.name.as_str()).collect();
        if !nodes.is_empty() {
            dependents.push(format!("{} of cluster `{name}`", nodes.join(", ")));
        }
    }
    if dependents.is_empty() {
        return error;
    }
    let dependents = dependents.join("; ");
    advise(
        anyhow::anyhow!("{error:#}\n       on it lie {dependents}"),
        "put the file back as it was; new nodes need `down` and `up` of these clusters".to_owned(),
    )
}

//! Checks, before any node starts, that the files below its disk are unchanged.

use std::collections::BTreeSet;

use anyhow::{Error, Result};
use kvmc_images::Store;

use crate::hint::add_hint;
use crate::state::{ClusterRecord, State};
use crate::warm;

/// Fails if an image or a frozen machine's disk has changed.
///
/// # Errors
/// Fails with the file, the expected and the found digest, and every node whose disk lies on the file.
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

/// Checks the images of a cluster and the frozen machines of its nodes.
///
/// # Errors
/// Like [`check_intact`].
pub(crate) fn check_cluster_intact(state: &State, record: &ClusterRecord) -> Result<()> {
    let images = record.nodes.iter().map(|n| n.base.image());
    check_intact(state, images, Some(record))
}

/// Adds the nodes of all clusters whose disks need the file.
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
    add_hint(
        anyhow::anyhow!("{error:#}\n       used by {dependents}"),
        "restore the original file, or remove these clusters and their data with `down` and create them again with `up`".to_owned(),
    )
}

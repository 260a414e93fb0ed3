//! Finds a cluster's objects on the host by their marks, without its record, folder or keeper.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::Links;
use nix::sys::signal::Signal;

use crate::network;
use crate::node::{Identity, qemu_of, scan};
use crate::state::State;

/// Longest time that a killed process takes to end.
const END: Duration = Duration::from_secs(10);

/// The objects found of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// QEMU processes, each with its node's name.
    pub(crate) qemus: Vec<(String, Identity)>,
    pub(crate) keepers: Vec<Identity>,
    pub(crate) bridges: Vec<String>,
}

/// All objects of this state folder's clusters in this network namespace.
///
/// # Errors
/// Fails if the links cannot be read.
pub(crate) async fn traces(state: &State, links: &Links) -> Result<BTreeMap<String, Traces>> {
    let state_of_task = state.clone();
    // A host may have thousands of processes, and the kernel tells the links meanwhile.
    let processes = tokio::task::spawn_blocking(move || processes(&state_of_task));
    let links = links.list().await;
    let mut all = processes
        .await
        .context("the task that looks at processes panicked")?;
    let known = state.cluster_names();
    for link in links? {
        if link.kind.as_deref() != Some("bridge") {
            continue;
        }
        let by_mark = link.alias.as_deref().and_then(|a| state.marked(a));
        // A kill between making and marking leaves a bridge that has only its MAC address.
        let unmarked = known.iter().chain(all.keys()).find(|name| {
            link.alias.is_none()
                && link.mac == Some(network::bridge_mac(&state.cluster(name), &link.name))
        });
        let found = by_mark.map(str::to_owned).or_else(|| unmarked.cloned());
        if let Some(cluster) = found {
            all.entry(cluster).or_default().bridges.push(link.name);
        }
    }
    Ok(all)
}

/// The QEMUs and keepers, by one walk over all processes.
fn processes(state: &State) -> BTreeMap<String, Traces> {
    let mut all: BTreeMap<String, Traces> = BTreeMap::new();
    let tag = state.tag();
    let found = scan(|arguments| {
        let qemu = qemu_of(arguments, &tag);
        let qemu = qemu.map(|((cluster, node), mark)| ((cluster, Some(node)), mark));
        qemu.or_else(|| {
            let (cluster, mark) = keeper_of(arguments, state)?;
            Some(((cluster, None), mark))
        })
    });
    for ((cluster, node), identity) in found {
        let of = all.entry(cluster).or_default();
        match node {
            Some(node) => of.qemus.push((node, identity)),
            None => of.keepers.push(identity),
        }
    }
    all
}

/// The cluster that a keeper's arguments name if it is of this state folder, and the argument.
fn keeper_of(arguments: &[String], state: &State) -> Option<(String, String)> {
    let [_, verb, name, folder, ..] = arguments else {
        return None;
    };
    let mark = crate::keeper::Keeper::mark(&state.cluster(name));
    (verb == "keeper" && *folder == mark).then(|| (name.clone(), mark))
}

impl Traces {
    pub(crate) fn is_empty(&self) -> bool {
        self.qemus.is_empty() && self.keepers.is_empty() && self.bridges.is_empty()
    }

    /// Ends and removes all of it. Continues past errors and returns them.
    pub(crate) async fn remove(&self, links: &Links) -> Vec<anyhow::Error> {
        let mut errors = Vec::new();
        let keepers = self.keepers.iter().map(|identity| ("a keeper", identity));
        let qemus = self.qemus.iter().map(|(node, i)| (node.as_str(), i));
        // The keeper goes first, because it might restart a killed node.
        for (what, identity) in keepers.chain(qemus) {
            let Some(handle) = identity.open() else {
                continue;
            };
            errors.extend(handle.signal(Signal::SIGKILL).err());
            if !handle.ended(END).await {
                errors.push(anyhow::anyhow!(
                    "{what} (pid {}) does not end",
                    identity.pid
                ));
            }
        }
        for bridge in &self.bridges {
            errors.extend(network::remove_found(bridge, links).await);
        }
        errors
    }
}

impl std::fmt::Display for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        for (node, identity) in &self.qemus {
            parts.push(format!("a QEMU of {node} (pid {})", identity.pid));
        }
        for identity in &self.keepers {
            parts.push(format!("a keeper (pid {})", identity.pid));
        }
        for bridge in &self.bridges {
            parts.push(format!("the bridge {bridge} with its rules"));
        }
        write!(f, "{}", parts.join(", "))
    }
}

//! Access to nodes by ssh, by their console and by their logs.

mod console;
mod copy;
mod exec;
mod input;
mod journal;
mod logs;
mod node_log;
mod place;
mod probe;
mod sessions;
mod ssh;
mod sync;
mod tail;
mod ties;

use std::path::PathBuf;

use anyhow::Result;

pub(super) use self::console::{console, history};
pub(super) use self::copy::copy;
pub(super) use self::exec::exec;
pub(super) use self::logs::logs;
pub(crate) use self::node_log::FollowedLog;
pub(super) use self::sessions::{EndedSessions, end as end_sessions, register as register_session};
use self::ssh::Ssh;
pub(super) use self::sync::sync;
pub(super) use self::ties::{attend, tie, ties, untie, untie_all};
use super::Local;
use crate::hint::bail_with_hint;
use crate::interrupt::Interrupt;
use crate::model::{NicAddresses, NodeAddresses};
use crate::network::check_namespace;
use crate::node::{Ended, Identity};
use crate::project;
use crate::state::{ClusterDir, ClusterRecord, Phase, read_json};

/// The addresses of nodes, also of stopped ones.
pub(super) fn addresses(local: &Local, words: &[String]) -> Result<Vec<NodeAddresses>> {
    let record = local.require()?;
    let chosen = record.selector().select(words)?;
    let nodes = record
        .nodes
        .iter()
        .filter(|n| chosen.contains(&&*n.name))
        .map(|node| NodeAddresses {
            node: node.name.clone(),
            addresses: record
                .nics(node)
                .map(|(network, nic)| NicAddresses {
                    network: network.name.clone(),
                    address: nic.address,
                    address6: network.address6(nic.mac),
                    mac: nic.mac.to_string(),
                })
                .collect(),
        });
    Ok(nodes.collect())
}

/// See [`crate::engine::Reach::include_ssh_config`].
pub(super) fn include(local: &Local, wanted: bool) -> Result<(PathBuf, bool)> {
    // A signal does not leave it half-done.
    let _finishes = Interrupt::listen()?;
    let dir = local.dir();
    let change = match wanted {
        true => project::install(&local.require()?, &dir)?,
        false => project::uninstall(&local.cluster, &dir)?,
    };
    Ok(match change {
        project::Change::Made(path) => (path, true),
        project::Change::None(path) => (path, false),
    })
}

/// The record of a cluster whose nodes can be reached from here.
fn reachable(local: &Local) -> Result<ClusterRecord> {
    let record = local.require()?;
    check_namespace(&record)?;
    match record.phase {
        Phase::Up | Phase::Starting => Ok(record),
        Phase::Removing => Err(local.half_removed()),
        Phase::Stopped => bail_with_hint!(
            format!("{} starts it", local.command("start")),
            "cluster `{}` is stopped",
            local.cluster
        ),
    }
}

/// Why a node does not run; none if it runs.
fn why_down(dir: &ClusterDir, node: &str) -> Option<String> {
    let dir = dir.node(node);
    match read_json::<Identity>(&dir.process()) {
        Ok(None) => Some("is stopped".to_owned()),
        Ok(Some(process)) if process.open().is_none() => {
            let (cause, _) = Ended::of(&dir, &process);
            Some(format!("does not run: {cause}"))
        }
        // ssh tells whether a node answers of which nothing is known.
        Ok(Some(_)) | Err(_) => None,
    }
}

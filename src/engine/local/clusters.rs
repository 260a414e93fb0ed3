//! Lists all clusters of the state folder. A cluster that cannot be read is a row, not an error.

use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Result;
use kvmc_netns::Links;

use super::Local;
use crate::hint::{OTHER_USER, add_hint, hints, host_command};
use crate::model::{ClusterList, ClusterRow, SCHEMA};
use crate::node::Identity;
use crate::state::{ClusterRecord, Found, Lock, OF_ROOT, is_denied, read_json};
use crate::steps::{Traces, traces};

impl Local {
    /// All clusters of the state folder, including those of which only traces are left.
    ///
    /// # Errors
    /// Fails if this user may not read the state folder.
    pub(crate) async fn list_clusters(&self) -> Result<ClusterList> {
        let folder = self.state.clusters();
        match fs_err::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(add_hint(e.into(), OTHER_USER.to_owned()));
            }
            _ => {}
        }
        // Without the host's links, the records still tell of all clusters but those without a folder.
        let mut seen = match Links::open() {
            Ok(links) => traces(&self.state, &links).await.unwrap_or_default(),
            Err(_) => Default::default(),
        };
        let names = self.state.cluster_names().into_iter();
        let names: std::collections::BTreeSet<_> = names.chain(seen.keys().cloned()).collect();
        let mut clusters = Vec::new();
        for name in names {
            let local = self.of(&name);
            let mut row = row(&local, &seen.remove(&name).unwrap_or_default());
            if row.fork_of.is_some() && row.why.is_none() && Lock::holder(&local.dir()).is_none() {
                let record = Found::look(&local.dir()).record();
                row.why = match &record {
                    Some(record) => local.left_outside(record).await,
                    None => None,
                };
            }
            clusters.push(row);
        }
        Ok(ClusterList {
            schema: SCHEMA,
            hint: clusters.is_empty().then(|| self.where_clusters_are()),
            clusters,
        })
    }

    fn where_clusters_are(&self) -> String {
        let root_has_some = !nix::unistd::geteuid().is_root()
            && Path::new(OF_ROOT).exists()
            && self.state.root() != Path::new(OF_ROOT);
        if root_has_some {
            let ls = host_command("ls");
            let ls = ls.trim_matches('`');
            return format!("root has clusters of its own; `sudo {ls}` shows them");
        }
        format!("{} creates a cluster", host_command("up"))
    }
}

fn row(local: &Local, seen: &Traces) -> ClusterRow {
    let dir = local.dir();
    let bare = |phase: &str, why: String| ClusterRow {
        cluster: local.cluster.clone(),
        phase: phase.to_owned(),
        running: seen.qemus.len(),
        bridge: seen.bridges.first().cloned(),
        created: created(dir.path()),
        why: Some(why),
        ..ClusterRow::default()
    };
    let down = local.command("down");
    match Found::look(&dir) {
        Found::Whole(record) => recorded(local, &record),
        Found::Copy(copy, error) => ClusterRow {
            phase: "damaged".to_owned(),
            why: Some(format!(
                "{error:#}; {} restores its last good copy, which this row shows",
                local.command("doctor --fix")
            )),
            ..recorded(local, &copy)
        },
        Found::Unreadable(error) => bare(
            "damaged",
            format!("{error:#}; {down} removes the remains of the cluster"),
        ),
        Found::NotOurs(error) => {
            let hints = hints(&error).join("; ");
            let why = format!("{error:#}; {hints}");
            let phase = if is_denied(&error) {
                "denied"
            } else {
                "foreign"
            };
            bare(phase, why.trim_end_matches("; ").to_owned())
        }
        Found::Nothing => match Lock::holder(&dir) {
            Some(holder) => bare(
                "starting",
                format!("it has no record yet; another verb works on it: {holder}"),
            ),
            None => bare(
                "remains",
                format!("its record is missing; {down} removes the remains"),
            ),
        },
    }
}

fn recorded(local: &Local, record: &ClusterRecord) -> ClusterRow {
    let dir = local.dir();
    let runs = |node: &str| {
        let process = read_json::<Identity>(&dir.node(node).process());
        process.is_ok_and(|p| p.is_some_and(|p| p.open().is_some()))
    };
    ClusterRow {
        cluster: local.cluster.clone(),
        phase: record.phase.name().to_owned(),
        running: record.nodes.iter().filter(|n| runs(&n.name)).count(),
        nodes: Some(record.nodes.len()),
        bridge: Some(record.main().bridge.clone()),
        subnet: Some(record.main().subnet),
        ram: Some(record.nodes.iter().map(|n| n.ram.0).sum()),
        created: created(dir.path()),
        project: Some(record.project.clone()),
        fork_of: record.host.fork.as_ref().map(|fork| fork.of.clone()),
        why: None,
    }
}

/// When a folder was made, if its file system knows that.
fn created(folder: &Path) -> Option<f64> {
    let made = std::fs::metadata(folder).and_then(|m| m.created()).ok()?;
    Some(made.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

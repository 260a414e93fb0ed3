//! The cluster's record, its secrets, and the files for Ansible and ssh.

use std::fmt;

use anyhow::{Context, Error, Result, bail};

use super::Undo;
use super::bench::{Host, Workbench};
use crate::failpoint::failpoint;
use crate::keeper::{Keeper, Request};
use crate::node::{KeyPool, Secrets};
use crate::project;
use crate::state::{ClusterDir, ClusterRecord, Phase, read_json, replace_json};

/// The step that writes these files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordFiles {
    /// The cluster has none of these files yet, so they are removed if it cannot be made.
    pub(crate) is_new: bool,
}

impl fmt::Display for RecordFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write the record, the keys, inventory, ssh_config and known_hosts")
    }
}

/// Whether the record on disk is the wanted one, and all secrets exist.
///
/// # Errors
/// Fails if the secrets cannot be read.
pub(crate) fn look(
    wanted: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    dir: &ClusterDir,
) -> Result<bool> {
    let secrets = read_json::<Secrets>(&dir.secrets())?;
    let has_keys = |s: &Secrets| wanted.nodes.iter().all(|n| s.hosts.contains_key(&n.name));
    let is_recorded = existing.is_some_and(|r| {
        r.nodes == wanted.nodes
            && r.forwards == wanted.forwards
            && r.spec == wanted.spec
            && r.stopped == wanted.stopped
            && r.project == wanted.project
            && r.phase == Phase::Up
    });
    Ok(is_recorded && secrets.as_ref().is_some_and(has_keys))
}

impl RecordFiles {
    pub(super) async fn make(
        self,
        record: &mut ClusterRecord,
        bench: Workbench<'_>,
        undo: &mut Undo,
    ) -> Result<()> {
        let dir = bench.host.dir;
        record.phase = Phase::Starting;
        record.save(dir)?;
        failpoint!("up.record");
        let secrets = secrets(record, dir, bench.keys)?;
        if self.is_new {
            let dir = dir.clone();
            undo.push("the files for Ansible and ssh", move || async move {
                match project::remove(None, &dir).join("\n") {
                    left if left.is_empty() => Ok(()),
                    left => bail!("{left}"),
                }
            });
        }
        for text in project::write(record, &secrets, dir, self.is_new)? {
            bench.progress.say(&text);
        }
        failpoint!("up.files");
        // The set of nodes may have changed while all of them run. A later step replaces a keeper of another version.
        let keeper = Keeper::of(dir, &record.spec.name);
        if keeper.answers().await {
            keeper.ask(&Request::Sync).await?;
        }
        Ok(())
    }

    /// Removes the files in the user's folder. The record and the secrets go with the cluster's folder.
    pub(super) fn remove(
        self,
        record: Option<&ClusterRecord>,
        host: Host<'_>,
        told: &mut Vec<String>,
    ) -> Vec<Error> {
        told.extend(project::remove(record, host.dir));
        let removed = || {
            failpoint!("down.files");
            Ok(())
        };
        removed().err().into_iter().collect()
    }
}

/// The cluster's secrets, with new ones for new nodes.
fn secrets(record: &ClusterRecord, dir: &ClusterDir, keys: &KeyPool) -> Result<Secrets> {
    let existing = read_json::<Secrets>(&dir.secrets())?;
    let (secrets, changed) = match existing {
        Some(mut secrets) => {
            let changed = secrets.complete(&record.nodes, keys)?;
            (secrets, changed)
        }
        None => (
            Secrets::generate(&record.spec.name, &record.nodes, keys)?,
            true,
        ),
    };
    if changed {
        replace_json(&dir.secrets(), &secrets, 0o600).context("the keys cannot be saved")?;
        failpoint!("up.secrets");
    }
    Ok(secrets)
}

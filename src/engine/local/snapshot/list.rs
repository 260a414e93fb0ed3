//! `snapshot ls` and `snapshot rm`.

use anyhow::Result;

use super::save::is_automatic;
use super::{folder, sweep};
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::hint::bail_with_hint;
use crate::interrupt::Interrupt;
use crate::model::{SCHEMA, SnapshotList, SnapshotRow};
use crate::snapshot::Name;
use crate::state::{ClusterDir, ClusterRecord, Phase, Restoration};

impl Local {
    /// The snapshots of the cluster.
    ///
    /// # Errors
    /// Fails if there is no such cluster, or if the folder cannot be read.
    pub(crate) fn list_snapshots(&self) -> Result<SnapshotList> {
        let record = self.require()?;
        let (all, damaged) = folder::all(&self.dir())?;
        let snapshots = all.into_iter().map(|manifest| SnapshotRow {
            current: record.snapshot.as_deref() == Some(manifest.name.as_str()),
            time: manifest.time,
            size: manifest.size(),
            nodes: manifest.nodes.keys().cloned().collect(),
            parent: manifest.parent.as_ref().map(ToString::to_string),
            name: manifest.name.to_string(),
            note: manifest.note,
        });
        Ok(SnapshotList {
            schema: SCHEMA,
            cluster: self.cluster.clone(),
            snapshots: snapshots.collect(),
            damaged,
        })
    }

    /// Removes a snapshot. The nodes do not notice.
    ///
    /// # Errors
    /// Fails without a change if there is no such snapshot, or if another verb works on the cluster.
    pub(crate) async fn remove_snapshot(&self, name: &Name) -> Result<()> {
        self.require()?;
        let dir = self.dir();
        // One that cannot be read can be removed nevertheless.
        let is_there = || dir.snapshot(name.as_str()).exists();
        if !is_there() {
            folder::named(&dir, &self.cluster, name)?;
        }
        let mut interrupt = Interrupt::listen()?;
        let (mut record, _lock) = self.lock("snapshot rm", &mut interrupt).await?;
        if record.phase == Phase::Removing {
            return Err(self.half_removed());
        }
        self.recover(&mut record).await?;
        let pending = Restoration::decided(&dir)?.and_then(|from| from.snapshot);
        if pending.as_deref() == Some(name.as_str()) {
            bail_with_hint!(
                format!("{} completes the rollback", self.command("start")),
                "cluster `{}` is going back to snapshot `{name}`",
                self.cluster
            );
        }
        if is_there() {
            remove(&dir, name.as_str())?;
        }
        sweep::remove_images(&dir, &record)
    }

    /// Removes the oldest snapshots with automatic names until `keep` are left. Returns the names of the removed.
    pub(super) fn remove_oldest(&self, keep: usize, record: &ClusterRecord) -> Result<Vec<String>> {
        let dir = self.dir();
        let (all, _) = folder::all(&dir)?;
        let mut names: Vec<_> = all.iter().map(|m| m.name.to_string()).collect();
        names.retain(|name| is_automatic(name));
        let surplus = names.len().saturating_sub(keep.max(1));
        names.truncate(surplus);
        for name in &names {
            remove(&dir, name)?;
        }
        sweep::remove_images(&dir, record)?;
        Ok(names)
    }
}

/// Removes a snapshot's folder. Its manifest goes first, so that no half of it looks whole.
fn remove(dir: &ClusterDir, name: &str) -> Result<()> {
    let folder = dir.snapshot(name);
    let gone = dir.unfinished_snapshot();
    sweep::remove_folder(&gone)?;
    // What is unfinished is removed by whatever verb comes next.
    fs_err::rename(&folder, &gone)?;
    failpoint!("snapshot.removing");
    sweep::remove_folder(&gone)?;
    failpoint!("snapshot.removed");
    Ok(())
}

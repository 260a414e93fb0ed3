//! A node's disk: an overlay on a frozen machine or an image.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Error, Result};

use super::bench::{Host, Workbench};
use crate::failpoint::failpoint;
use crate::model::Stage;
use crate::node::{Secrets, clone_disk, write_seed};
use crate::state::{ClusterRecord, read_json};

/// Wait between two tries to remove a folder that another process writes into.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) node: String,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clone the disk of {}", self.node)
    }
}

impl Disk {
    /// Clones the disk. It stays when the cluster stops, because the next start needs it.
    pub(super) fn make(&self, record: &ClusterRecord, bench: Workbench<'_>) -> Result<()> {
        let node = record.node(&self.node)?;
        let dir = bench.host.dir;
        let node_dir = dir.node(&node.name);
        let image = bench.images.of(node)?;
        let backing = bench.frozen.store().backing(node, image);
        let nearest = backing
            .first()
            .with_context(|| format!("the image {} has no disk", image.name))?;
        let frozen = node.base.frozen();
        let wakes = frozen.is_some_and(|id| bench.frozen.memory(id).is_some());
        let is_new = clone_disk(node, &node_dir, nearest, wakes)?;
        if node.seeded && (is_new || !node_dir.seed().exists()) {
            let secrets =
                read_json::<Secrets>(&dir.secrets())?.context("secrets.json is missing")?;
            let user_data = dir.stored_user_data(&node.role);
            let domain = record.spec.domain();
            write_seed(&domain, node, &node_dir, &secrets, user_data.as_deref())?;
        }
        failpoint!("up.disk");
        bench.progress.stage(&self.node, Stage::Cloned, "");
        Ok(())
    }

    /// Removes the node's folder with everything in it. The keeper may still be writing how the node ended.
    pub(super) fn remove(&self, host: Host<'_>) -> Vec<Error> {
        const TRIES: u32 = 50;
        let folder = host.dir.node(&self.node);
        let mut tries = 0;
        loop {
            match fs_err::remove_dir_all(folder.path()) {
                Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(e) if e.kind() != ErrorKind::NotFound => return vec![e.into()],
                _ => return Vec::new(),
            }
        }
    }
}

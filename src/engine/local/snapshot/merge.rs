//! Merges the images that no snapshot needs to be apart. The cluster is stopped.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use kvmc_images::{Store, merge_first};

use super::{folder, sweep};
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::state::{ClusterRecord, Restoration};

impl Local {
    /// Merges images of stopped nodes into those below them, as far as no snapshot has either of them. Until the record is
    /// written, a disk is the same with and without the merged ones.
    ///
    /// # Errors
    /// Fails if an image cannot be read or written. The disks are whole nevertheless.
    pub(in crate::engine::local) fn merge_images(&self, record: &mut ClusterRecord) -> Result<()> {
        let dir = self.dir();
        if Restoration::decided(&dir)?.is_some() {
            return Ok(());
        }
        if record.nodes.iter().all(|n| n.depth() < 2) {
            return sweep::remove_images(&dir, record);
        }
        let (snapshots, damaged) = folder::all(&dir)?;
        if !damaged.is_empty() {
            return Ok(());
        }
        let store = Store::open(self.state.root());
        let frozen = self.frozen();
        let mut merged = false;
        for node in &mut record.nodes {
            let node_dir = dir.node(&node.name);
            let saved = snapshots.iter().filter_map(|s| s.nodes.get(&node.name));
            let saved: BTreeSet<&String> = saved.flat_map(|p| &p.chains).flatten().collect();
            let image = store.get(node.base.image())?;
            let backing = frozen.backing(node, &image);
            let mut chains = node.all_chains();
            for (disk, chain) in chains.iter_mut().enumerate() {
                // All that lies below an image of a snapshot belongs to the snapshot too, and so with an image that another
                // cluster has since it was forked.
                let is_own = |name: &&String| {
                    let links = std::fs::metadata(node_dir.image(name)).map(|m| m.nlink());
                    !saved.contains(name) && links.is_ok_and(|links| links == 1)
                };
                while chain.iter().take_while(is_own).count() > 1 {
                    let own = chain.iter().map(|name| node_dir.image(name));
                    let below = backing.iter().filter(|_| disk == 0).cloned();
                    merge_first(&own.chain(below).collect::<Vec<_>>())
                        .with_context(|| format!("an image of {}", node.name))?;
                    failpoint!("stop.merged");
                    chain.remove(0);
                    merged = true;
                }
            }
            let is_plain = chains.iter().all(|chain| chain.len() == 1);
            node.chains = if is_plain { Vec::new() } else { chains };
        }
        if merged {
            record.save(&dir)?;
        }
        failpoint!("stop.images");
        sweep::remove_images(&dir, record)
    }
}

//! `snapshot import`: gives a cluster a snapshot of its own back that was exported.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kvmc_images::qcow2;

use super::export::identity;
use super::{fits, folder, room, sweep};
use crate::engine::local::Local;
use crate::hint::bail_with_hint;
use crate::interrupt::Interrupt;
use crate::model::{Exported, Interrupted};
use crate::snapshot::{Contents, Manifest, import, inspect};
use crate::state::{ClusterRecord, NodeRecord, next_image, private_dir, replace_json};

impl Local {
    /// Adds an exported snapshot to the cluster that it was exported from. The nodes do not notice.
    ///
    /// # Errors
    /// Fails without a snapshot if the file is damaged, is of another cluster or does not fit, or if it was
    /// [`Interrupted`].
    pub(crate) async fn import_snapshot(&self, from: &Path) -> Result<Exported> {
        let contents = inspect(from)?;
        self.check_import(&self.require()?, &contents)?;
        room::check_import(self, from, contents.size())?;
        let mut interrupt = Interrupt::listen()?;
        let (mut record, _lock) = self.lock("snapshot import", &mut interrupt).await?;
        self.recover(&mut record).await?;
        let dir = self.dir();
        private_dir(&dir.snapshots())?;
        private_dir(&dir.unfinished_snapshot())?;
        let imported = self.import_to(from, &record, &interrupt);
        if imported.is_err() {
            sweep::sweep(&dir, &mut record)?;
        }
        imported
    }

    fn check_import(&self, record: &ClusterRecord, contents: &Contents) -> Result<()> {
        let name = &contents.manifest.name;
        ensure!(
            contents.cluster == self.cluster && contents.identity == identity(record),
            "snapshot `{name}` is of another cluster `{}`: its nodes have other names, addresses or ids",
            contents.cluster.escape_debug()
        );
        if self.dir().snapshot(name.as_str()).exists() {
            let rm = self.command(&format!("snapshot rm {name}"));
            bail_with_hint!(
                format!("{rm} removes it"),
                "cluster `{}` has a snapshot `{name}` already",
                self.cluster
            );
        }
        Ok(())
    }

    fn import_to(
        &self,
        from: &Path,
        record: &ClusterRecord,
        interrupt: &Interrupt,
    ) -> Result<Exported> {
        let dir = self.dir();
        let unfinished = dir.unfinished_snapshot();
        let go_on = || match interrupt.came() {
            true => Err(Interrupted("the cluster is unchanged".to_owned()).into()),
            false => Ok(()),
        };
        self.progress.say("reading the snapshot");
        // Another file may be there by now.
        let most = inspect(from)?.size();
        room::check_import(self, from, most)?;
        let contents = import(from, &unfinished, most, &go_on)?;
        self.check_import(record, &contents)?;
        self.take_stores(&contents, &unfinished)?;
        let mut manifest = contents.manifest;
        fits::check(self, record, &manifest)?;
        for (name, part) in &mut manifest.nodes {
            let node = record.node(name)?;
            part.chains = self.take_images(node, &part.chains, &unfinished)?;
        }
        take_streams(&unfinished, &manifest)?;
        replace_json(&unfinished.join(folder::MANIFEST), &manifest, 0o600)?;
        fs_err::rename(&unfinished, dir.snapshot(manifest.name.as_str()))?;
        folder::sync(&dir.snapshots())?;
        Ok(Exported {
            name: manifest.name.to_string(),
            file: from.to_owned(),
            size: manifest.size(),
        })
    }

    /// Puts missing images and frozen machines into their stores, which check them.
    fn take_stores(&self, contents: &Contents, from: &Path) -> Result<()> {
        let store = self.store();
        for name in contents.names() {
            let id = name
                .strip_prefix("images/")
                .and_then(|n| n.strip_suffix(".tar"));
            if let Some(id) = id.filter(|id| store.get(id).is_err()) {
                let came = store.unpack(&from.join(name))?.image.id;
                ensure!(came == id, "the file holds image {came} as {id}");
            }
        }
        let parts = contents.manifest.nodes.values();
        for id in parts.filter_map(|part| part.frozen.as_ref()) {
            self.frozen().adopt(id, &from.join("frozen").join(id))?;
        }
        Ok(())
    }

    /// Moves the images of a node's disks to its folder under names that are free, and returns their chains.
    fn take_images(
        &self,
        node: &NodeRecord,
        chains: &[Vec<String>],
        from: &Path,
    ) -> Result<Vec<Vec<String>>> {
        ensure!(
            chains.len() == node.disk_count(),
            "{} has {} disks; expected {}",
            node.name,
            chains.len(),
            node.disk_count()
        );
        let dir = self.dir().node(&node.name);
        let mut taken = Vec::new();
        for (disk, chain) in chains.iter().enumerate() {
            let mut names: BTreeMap<&str, String> = BTreeMap::new();
            let mut own = Vec::new();
            for image in chain {
                ensure!(
                    !image.contains('/') && !names.contains_key(image.as_str()),
                    "{} has the image `{}` where none can be",
                    node.name,
                    image.escape_debug()
                );
                let path = from.join("nodes").join(&node.name).join(image);
                // It refuses images that name other files.
                qcow2::inspect(&path)?;
                // The lowest numbers will be those of images that are made here.
                let free = (1..=u32::MAX).rev().map(|number| next_image(disk, number));
                let mut free = free.filter(|name| !dir.image(name).exists());
                let name = free.next().context("no name is free for an image")?;
                fs_err::rename(&path, dir.image(&name))?;
                names.insert(image, name.clone());
                own.push(name);
            }
            if own.is_empty() {
                bail!("{} has a disk without images", node.name);
            }
            taken.push(own);
        }
        folder::sync(dir.path())?;
        Ok(taken)
    }
}

/// Moves the streams to where a snapshot has them, and removes what else the file held.
fn take_streams(unfinished: &Path, manifest: &Manifest) -> Result<()> {
    let streams = unfinished.join("streams");
    for node in manifest.nodes.keys() {
        for path in [
            folder::stream(unfinished, node),
            folder::variables(unfinished, node),
        ] {
            let name = path.file_name().unwrap_or_default();
            match fs_err::rename(streams.join(name), &path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
    }
    folder::check_streams(unfinished, manifest)?;
    for entry in fs_err::read_dir(unfinished)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    folder::sync(unfinished)
}

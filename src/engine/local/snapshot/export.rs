//! `snapshot export`: writes a snapshot to one file, with all images, frozen machines and streams that it needs.
//!
//! ```text
//! streams/<node>.stream, streams/<node>.uefi-vars
//! nodes/<node>/<image>          the node's own images of its disks
//! frozen/<id>/…                 the files of a frozen machine
//! images/<digest>.tar           an image with its parents, as `image export` writes it
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::folder;
use crate::engine::local::Local;
use crate::hint::bail_with_hint;
use crate::interrupt::Interrupt;
use crate::model::{Exported, Interrupted};
use crate::snapshot::{Manifest, Name, Source, export};
use crate::state::ClusterRecord;
use crate::warm::Store;

impl Local {
    /// Writes a snapshot to a new file, packed where its name ends in `.zst`. The nodes do not notice.
    ///
    /// # Errors
    /// Fails without a file if there is no such snapshot, if the file exists or cannot be written, or if it was
    /// [`Interrupted`].
    pub(crate) async fn export_snapshot(&self, name: &Name, to: &Path) -> Result<Exported> {
        self.require()?;
        if to.exists() {
            bail_with_hint!("remove it, or name another file", "{} exists", to.display());
        }
        let mut interrupt = Interrupt::listen()?;
        // Nobody may remove the snapshot meanwhile.
        let (record, _lock) = self.lock("snapshot export", &mut interrupt).await?;
        let dir = self.dir();
        let manifest = folder::named(&dir, &self.cluster, name)?;
        let beside = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let images = tempfile::Builder::new()
            .prefix(".kvmc-export-")
            .tempdir_in(beside)
            .with_context(|| format!("cannot write in {}", beside.display()))?;
        self.progress.say("reading the images");
        let sources = self.sources(&record, &manifest, images.path())?;
        self.progress.say("writing the snapshot");
        let go_on = || match interrupt.came() {
            true => Err(Interrupted("no file was written".to_owned()).into()),
            false => Ok(()),
        };
        let identity = identity(&record);
        let of = (self.cluster.as_str(), identity.as_str());
        let size = export(to, of, &manifest, &sources, &go_on)?;
        Ok(Exported {
            name: name.to_string(),
            file: to.to_owned(),
            size,
        })
    }

    /// The files that a snapshot needs. Images are exported to the folder `images`.
    fn sources(
        &self,
        record: &ClusterRecord,
        manifest: &Manifest,
        images: &Path,
    ) -> Result<Vec<Source>> {
        let dir = self.dir();
        let folder = dir.snapshot(manifest.name.as_str());
        let mut sources = Vec::new();
        let mut add = |name: String, path: PathBuf| sources.push(Source { name, path });
        let (mut needed, mut frozen) = (BTreeSet::new(), BTreeSet::new());
        for (node, part) in &manifest.nodes {
            needed.insert(part.fits.image.clone());
            frozen.extend(part.frozen.clone());
            let on = record.node(node)?.base.frozen();
            frozen.extend(on.map(str::to_owned));
            add(
                format!("streams/{node}.stream"),
                folder::stream(&folder, node),
            );
            let variables = folder::variables(&folder, node);
            if variables.exists() {
                add(format!("streams/{node}.uefi-vars"), variables);
            }
            let own: BTreeSet<_> = part.chains.iter().flatten().collect();
            for image in own {
                let path = dir.node(node).image(image);
                add(format!("nodes/{node}/{image}"), path);
            }
        }
        for id in frozen {
            for (file, path) in Store::FILES.iter().zip(self.frozen().files(&id)) {
                add(format!("frozen/{id}/{file}"), path);
            }
        }
        let store = self.store();
        for id in needed {
            let path = images.join(format!("{id}.tar"));
            store.export(&store.get(&id)?, &path)?;
            add(format!("images/{id}.tar"), path);
        }
        Ok(sources)
    }
}

/// What the guests of a snapshot know themselves by. It must be the same in the cluster that a snapshot goes to.
pub(super) fn identity(record: &ClusterRecord) -> String {
    let nodes = record.nodes.iter().map(|node| {
        let nics = node.nics.iter();
        let nics: Vec<_> = nics
            .map(|nic| json!([nic.network, nic.address.to_string(), nic.mac.to_string()]))
            .collect();
        json!([node.name, node.uuid, node.machine_id, nics])
    });
    serde_json::Value::Array(nodes.collect()).to_string()
}

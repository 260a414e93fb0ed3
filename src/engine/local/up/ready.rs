//! Makes ready what `up` needs before it takes the cluster's lock: images, prepared images and frozen machines, which
//! other clusters use too.

use anyhow::Result;
use kvmc_images::{Boot, ImageHold, Store};

use super::run::{Run, UNCHANGED, unless_interrupted};
use crate::engine::local::design::{Blueprint, design};
use crate::engine::local::frozen::WantedFrozen;
use crate::engine::local::preflight::check_disks;
use crate::engine::local::prepared::prepare_images;
use crate::hint::bail_with_hint;
use crate::image::Images;
use crate::interrupt::Interrupt;
use crate::model::Interrupted;
use crate::node::{KeyPool, uefi};
use crate::state::{ClusterRecord, Phase};
use crate::warm::{self, LoadedMachines};

/// Everything that the cluster is built on.
pub(super) struct Ready {
    /// The cluster's record, now that its images are known.
    pub(super) record: ClusterRecord,
    pub(super) images: Images,
    pub(super) frozen: LoadedMachines,
    pub(super) keys: KeyPool,
    /// Keeps the images from being removed meanwhile.
    _held: Vec<ImageHold>,
}

impl Run<'_> {
    /// Makes what is needed and missing.
    ///
    /// # Errors
    /// Fails if an image cannot be had or does not suit the cluster, or if it was [`Interrupted`].
    pub(super) async fn make_ready(
        &self,
        record: ClusterRecord,
        interrupt: &mut Interrupt,
    ) -> Result<Ready> {
        let root = self.local.state.root();
        let store = Store::open(root);
        let images = self.obtain(&store, interrupt).await?;
        let images = self.prepared(images, &record, interrupt).await?;
        let held = images.hold(&store)?;
        let record = self.design_again(record, &images, self.existing).await?;
        check_disks(&record, &images)?;
        self.check_boot(&record, &images, &store)?;
        let keys = KeyPool::open(root);
        let frozen = self.frozen(&record, &images, &keys, interrupt).await?;
        Ok(Ready {
            record,
            images,
            frozen,
            keys,
            _held: held,
        })
    }

    /// Designs the record again, now that the images are known.
    pub(super) async fn design_again(
        &self,
        record: ClusterRecord,
        images: &Images,
        existing: Option<&ClusterRecord>,
    ) -> Result<ClusterRecord> {
        let mut record = design(Blueprint {
            spec: record.spec,
            picks: &images.picks(),
            accelerator: record.accelerator,
            project: record.project,
            dir: &self.dir,
            existing,
            links: self.links,
        })
        .await?;
        self.choose(&mut record, existing);
        Ok(record)
    }

    /// Records which nodes stay stopped.
    pub(super) fn choose(&self, record: &mut ClusterRecord, existing: Option<&ClusterRecord>) {
        let was_stopped = existing.is_none_or(|r| r.phase == Phase::Stopped);
        self.start.scope.apply(record, was_stopped);
    }

    async fn obtain(&self, store: &Store, interrupt: &mut Interrupt) -> Result<Images> {
        const NONE_MADE: &str = "neither an image nor a cluster was made";
        let progress = self.local.progress.as_ref();
        let obtained = self.wanted.clone().obtain(store, progress);
        match unless_interrupted(interrupt, NONE_MADE, obtained).await? {
            // The signal also ends the programs that build an image, so their errors are part of the interruption.
            Err(_) if interrupt.came() => Err(Interrupted(NONE_MADE.to_owned()).into()),
            images => images,
        }
    }

    /// Replaces images by those with kvmc's agent, where possible.
    async fn prepared(
        &self,
        images: Images,
        record: &ClusterRecord,
        interrupt: &mut Interrupt,
    ) -> Result<Images> {
        if self.start.cold {
            return Ok(images);
        }
        let root = self.local.state.root();
        let (store, frozen) = (Store::open(root), warm::Store::open(root));
        let prepared = prepare_images(
            images,
            &store,
            &frozen,
            self.existing,
            &record.accelerator,
            self.local.progress.as_ref(),
        );
        Ok(unless_interrupted(interrupt, UNCHANGED, prepared).await?)
    }

    /// The frozen machines that the nodes wake from.
    async fn frozen(
        &self,
        record: &ClusterRecord,
        images: &Images,
        keys: &KeyPool,
        interrupt: &mut Interrupt,
    ) -> Result<LoadedMachines> {
        let store = warm::Store::open(self.local.state.root());
        if self.start.cold {
            return Ok(LoadedMachines::none(store));
        }
        let wanted = WantedFrozen {
            record,
            existing: self.existing,
            images,
            dir: &self.dir,
        };
        let frozen = wanted.prepare(store, keys, &self.local.progress);
        unless_interrupted(interrupt, UNCHANGED, frozen).await?
    }

    /// Checks that need the images themselves.
    fn check_boot(&self, record: &ClusterRecord, images: &Images, store: &Store) -> Result<()> {
        let is_for = |role: &str| self.user_data.iter().any(|(r, _)| r == role);
        let mut is_read = false;
        for node in &record.nodes {
            let image = images.of(node)?;
            is_read |= is_for(&node.role) && store.has_cloud_init(image);
            if image.boot == Boot::Uefi {
                uefi(image.architecture)?;
            }
        }
        if record.nodes.iter().any(|n| is_for(&n.role)) && !is_read {
            bail_with_hint!(
                "choose an image with --image",
                "user_data: no image of this cluster has cloud-init, which reads it"
            );
        }
        Ok(())
    }
}

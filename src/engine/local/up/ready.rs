//! What `up` makes ready before it takes the cluster's lock, and other clusters use too: images, those
//! that have to be prepared, and frozen machines.

use anyhow::{Result, bail};
use kvmc_images::{Boot, ImageHold, Store};

use super::run::{AS_IT_WAS, Run, unless_told};
use crate::engine::local::design::{Blueprint, design};
use crate::engine::local::frozen::Wanted as WantedFrozen;
use crate::engine::local::preflight::check_disks;
use crate::engine::local::prepared::prepare_images;
use crate::image::Images;
use crate::interrupt::Interrupt;
use crate::model::Interrupted;
use crate::node::{KeyPool, uefi};
use crate::state::ClusterRecord;
use crate::warm::{self, AtHand};

/// What the cluster is built on.
pub(super) struct Ready {
    /// The cluster as it is to be, now that its images are known.
    pub(super) record: ClusterRecord,
    pub(super) images: Images,
    pub(super) frozen: AtHand,
    pub(super) keys: KeyPool,
    /// Nobody removes the images meanwhile.
    _held: Vec<ImageHold>,
}

impl Run<'_> {
    /// Makes ready what is wanted and not there.
    ///
    /// # Errors
    /// What cannot be had, or cannot be for this cluster; that it was [`Interrupted`].
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

    /// The record anew, now that its images are known.
    pub(super) async fn design_again(
        &self,
        record: ClusterRecord,
        images: &Images,
        existing: Option<&ClusterRecord>,
    ) -> Result<ClusterRecord> {
        design(Blueprint {
            spec: record.spec,
            picks: &images.picks(),
            accelerator: record.accelerator,
            project: record.project,
            dir: &self.dir,
            existing,
            links: self.links,
        })
        .await
    }

    async fn obtain(&self, store: &Store, interrupt: &mut Interrupt) -> Result<Images> {
        const NONE_MADE: &str = "no image was made, and no cluster";
        let progress = self.local.progress.as_ref();
        let obtained = self.wanted.clone().obtain(store, progress);
        match unless_told(interrupt, NONE_MADE, obtained).await? {
            // Programs that build an image are ended by the same signal, and fail.
            Err(_) if interrupt.came() => Err(Interrupted(NONE_MADE.to_owned()).into()),
            images => images,
        }
    }

    /// The images with kvmc's agent in them, where they can have it.
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
        Ok(unless_told(interrupt, AS_IT_WAS, prepared).await?)
    }

    /// The machines that the nodes wake from.
    async fn frozen(
        &self,
        record: &ClusterRecord,
        images: &Images,
        keys: &KeyPool,
        interrupt: &mut Interrupt,
    ) -> Result<AtHand> {
        let store = warm::Store::open(self.local.state.root());
        if self.start.cold {
            return Ok(AtHand::none(store));
        }
        let wanted = WantedFrozen {
            record,
            existing: self.existing,
            images,
            dir: &self.dir,
        };
        let frozen = wanted.prepare(store, keys, &self.local.progress);
        unless_told(interrupt, AS_IT_WAS, frozen).await?
    }

    /// What can be said of the images only when they are there.
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
            bail!(
                "user_data: no image of this cluster has cloud-init, so nothing would read it; choose one with --image"
            );
        }
        Ok(())
    }
}

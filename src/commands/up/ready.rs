//! What `up` makes ready before it takes the cluster's lock, and other clusters use too: images, those
//! that have to be prepared, and frozen machines.

use std::rc::Rc;

use anyhow::{Result, bail};
use kvmc_images::{Boot, Held, Store};

use super::report::Interrupted;
use super::survey::Case;
use super::{AS_IT_WAS, design_again, unless_told};
use crate::cluster::{self, Warm};
use crate::image::{Images, Wanted};
use crate::interrupt::Interrupt;
use crate::model::Progress;
use crate::node::{KeyPool, uefi};
use crate::output::Nodes;
use crate::state::ClusterRecord;
use crate::warm;

/// What the cluster is built on.
pub(super) struct Ready {
    /// The cluster as it is to be, now that its images are known.
    pub(super) record: ClusterRecord,
    pub(super) images: Images,
    pub(super) warm: Warm,
    pub(super) keys: KeyPool,
    pub(super) nodes: Rc<Nodes>,
    /// Nobody removes the images meanwhile.
    _held: Vec<Held>,
}

impl Ready {
    pub(super) fn progress(&self) -> Rc<dyn Progress> {
        Rc::clone(&self.nodes) as Rc<dyn Progress>
    }
}

impl Case<'_> {
    /// Makes ready what is wanted and not there.
    ///
    /// # Errors
    /// What cannot be had, or cannot be for this cluster; that it was [`Interrupted`].
    pub(super) async fn make_ready(
        &self,
        wanted: Wanted,
        record: ClusterRecord,
        has_user_data: bool,
        interrupt: &mut Interrupt,
    ) -> Result<Ready> {
        let root = self.scene.state.root();
        let store = Store::open(root);
        let images = obtain(wanted, &store, interrupt).await?;
        let nodes = Rc::new(Nodes::new());
        let progress = Rc::clone(&nodes) as Rc<dyn Progress>;
        let images = (self.prepared(images, &record, &progress, interrupt)).await?;
        let held = images.hold(&store)?;
        let record = design_again(record, &images, self.existing, self.dir, self.links).await?;
        cluster::check_disks(&record, &images)?;
        check_boot(&record, &images, &store, has_user_data)?;
        let keys = KeyPool::open(root);
        let warm = (self.frozen(&record, &images, &keys, &progress, interrupt)).await?;
        Ok(Ready {
            record,
            images,
            warm,
            keys,
            nodes,
            _held: held,
        })
    }

    /// The images with kvmc's agent in them, where they can have it.
    async fn prepared(
        &self,
        images: Images,
        record: &ClusterRecord,
        progress: &Rc<dyn Progress>,
        interrupt: &mut Interrupt,
    ) -> Result<Images> {
        if self.start.cold {
            return Ok(images);
        }
        let root = self.scene.state.root();
        let (store, frozen) = (Store::open(root), warm::Store::open(root));
        let prepared = cluster::prepare_images(
            images,
            &store,
            &frozen,
            self.existing,
            &record.accelerator,
            progress,
        );
        Ok(unless_told(interrupt, AS_IT_WAS, prepared).await?)
    }

    /// The machines that the nodes wake from.
    async fn frozen(
        &self,
        record: &ClusterRecord,
        images: &Images,
        keys: &KeyPool,
        progress: &Rc<dyn Progress>,
        interrupt: &mut Interrupt,
    ) -> Result<Warm> {
        let frozen = warm::Store::open(self.scene.state.root());
        if self.start.cold {
            return Ok(Warm::none(frozen));
        }
        let warm = cluster::prepare(
            frozen,
            record,
            self.existing,
            images,
            self.dir,
            keys,
            progress,
        );
        unless_told(interrupt, AS_IT_WAS, warm).await?
    }
}

async fn obtain(wanted: Wanted, store: &Store, interrupt: &mut Interrupt) -> Result<Images> {
    const NONE_MADE: &str = "no image was made, and no cluster";
    match unless_told(interrupt, NONE_MADE, wanted.obtain(store)).await? {
        // Programs that build an image are ended by the same signal, and fail.
        Err(_) if interrupt.came() => Err(Interrupted(NONE_MADE).into()),
        images => images,
    }
}

/// What can be said of the images only when they are there.
fn check_boot(
    record: &ClusterRecord,
    images: &Images,
    store: &Store,
    has_user_data: bool,
) -> Result<()> {
    let mut has_cloud_init = false;
    for node in &record.nodes {
        let image = images.of(record, node)?;
        has_cloud_init |= store.has_cloud_init(image);
        if image.boot == Boot::Uefi {
            uefi(image.architecture)?;
        }
    }
    if has_user_data && !has_cloud_init {
        bail!(
            "user_data: no image of this cluster has cloud-init, so nothing would read it; choose one with --image"
        );
    }
    Ok(())
}

//! Which frozen machines a cluster's new nodes wake from; made where there are none.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Result;
use kvmc_images::Image;
use tokio::sync::Semaphore;

use crate::host::cores;
use crate::image::Images;
use crate::model::{Accelerator, Progress};
use crate::node::{Filling, KeyPool, NicKind, fill_keys, unsafe_no_reseed, vcpus};
use crate::state::{ClusterDir, ClusterRecord, NodeRecord};
use crate::warm::{AtHand, Frozen, Memory, Shape, Store, freeze};

/// A cluster as it is to be, and as it is.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) record: &'a ClusterRecord,
    pub(super) existing: Option<&'a ClusterRecord>,
    pub(super) images: &'a Images,
    pub(super) dir: &'a ClusterDir,
}

/// A machine that new nodes are to wake from, and one of these nodes.
struct Sleeper<'a> {
    shape: Shape,
    node: &'a NodeRecord,
    image: &'a Image,
}

impl<'a> Wanted<'a> {
    fn is_new(&self, node: &NodeRecord) -> bool {
        self.existing.is_none_or(|r| r.node(&node.name).is_err())
    }

    fn shape(&self, node: &NodeRecord, image: &Image) -> Result<Shape> {
        let accelerator = &self.record.accelerator;
        let nics = NicKind::of(self.record.nics(node).map(|(network, _)| network));
        let vcpus = vcpus(node.vcpus, accelerator);
        Shape::new(image, accelerator, vcpus, node.ram, nics)
    }

    /// The shapes of new nodes with their disks, each once.
    fn sleepers(&self) -> Result<Vec<Sleeper<'a>>> {
        let mut all: Vec<Sleeper<'a>> = Vec::new();
        // Nobody could tell a woken one without an agent who it is.
        let wakes = |n: &&NodeRecord| !n.seeded && self.is_new(n);
        for node in self.record.nodes.iter().filter(wakes) {
            // One whose image is still to be made has no frozen machine yet.
            let Ok(image) = self.images.of(node) else {
                continue;
            };
            let shape = self.shape(node, image)?;
            let is_same = |s: &Sleeper<'_>| s.shape == shape && s.node.disk == node.disk;
            if !all.iter().any(is_same) {
                all.push(Sleeper { shape, node, image });
            }
        }
        Ok(all)
    }

    /// The machines that `up` would freeze.
    ///
    /// # Errors
    /// No QEMU, or a folder that cannot be read.
    pub(super) fn missing(&self, store: &Store) -> Result<Vec<Shape>> {
        let mut missing = Vec::new();
        for Sleeper { shape, node, .. } in self.sleepers()? {
            if store.find(&shape, node.disk)?.is_none() {
                missing.push(shape);
            }
        }
        Ok(missing)
    }

    /// Bytes of memory that the nodes to be started will have once for several of them: of what a frozen
    /// machine's memory holds, all but the first that wakes from it. What a node writes becomes its own, but
    /// most of it is the kernel, programs and caches.
    ///
    /// # Errors
    /// No QEMU, or a folder that cannot be read.
    pub(super) fn shared(&self, store: &Store, starting: &[&NodeRecord]) -> Result<u64> {
        let at_hand = store.list()?;
        let mut wake: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for node in starting {
            let frozen = match self.images.of(node) {
                _ if !self.is_new(node) => {
                    let is_asleep = self.dir.node(&node.name).asleep().exists();
                    let id = node.base.frozen().filter(|_| is_asleep);
                    at_hand.iter().find(|f| Some(f.id.as_str()) == id)
                }
                Ok(image) if !node.seeded => {
                    let shape = self.shape(node, image)?;
                    let fits = |f: &&Frozen| *f.shape() == shape && f.disk_size() <= node.disk;
                    at_hand.iter().find(fits)
                }
                _ => None,
            };
            if let Some(frozen) = frozen {
                let bytes = frozen.memory_size().min(node.ram.0);
                wake.entry(&frozen.id).or_default().push(bytes);
            }
        }
        Ok(wake.values().flat_map(|all| all.iter().skip(1)).sum())
    }

    /// Loads, or makes, what the new nodes wake from, and loads what nodes still asleep lie on. What cannot
    /// be had is said in a line; its nodes boot.
    ///
    /// # Errors
    /// No QEMU.
    pub(super) async fn prepare(
        &self,
        store: Store,
        keys: &KeyPool,
        progress: &Rc<dyn Progress>,
    ) -> Result<AtHand> {
        if unsafe_no_reseed() {
            progress.say("KVMC_UNSAFE_NO_RESEED=1: the nodes will share their random numbers, and keys made of them");
        }
        let mut at_hand = AtHand::none(store.clone());
        let mut to_freeze = Vec::new();
        for sleeper in self.sleepers()? {
            match find(&store, &sleeper, progress.as_ref()) {
                Some((frozen, memory)) => at_hand.add(sleeper.node, &frozen, &memory),
                None => to_freeze.push(sleeper),
            }
        }
        if !to_freeze.is_empty() {
            // The processor has time now, and the keys are needed right after.
            let (keys, nodes) = (keys.clone(), self.record.nodes.len());
            at_hand.keep(Filling::start(move |wanted| {
                fill_keys(&keys, nodes, wanted)
            }));
        }
        let accelerator = &self.record.accelerator;
        for (node, frozen, memory) in freeze_all(&store, to_freeze, accelerator, progress).await {
            at_hand.add(node, &frozen, &memory);
        }
        self.load_asleep(&mut at_hand, progress.as_ref())?;
        Ok(at_hand)
    }

    /// Loads what nodes lie on that were cloned and have not run yet.
    fn load_asleep(&self, at_hand: &mut AtHand, progress: &dyn Progress) -> Result<()> {
        let nodes = self.existing.iter().flat_map(|r| &r.nodes);
        let asleep = nodes.filter_map(|node| {
            let frozen = node.base.frozen()?;
            let is_asleep = self.dir.node(&node.name).asleep().exists();
            is_asleep.then_some((node, frozen))
        });
        for (node, id) in asleep {
            if at_hand.memory(id).is_some() {
                continue;
            }
            // QEMU or the accelerator may be another one by now.
            let shape = self.shape(node, self.images.of(node)?)?;
            let fits = |f: &Frozen| f.id == *id && *f.shape() == shape;
            let Some(frozen) = at_hand.store().list()?.into_iter().find(fits) else {
                continue;
            };
            match frozen.load() {
                Ok(memory) => at_hand.load(id, &Rc::new(memory)),
                Err(e) => progress.say(&format!("nodes that were asleep boot: {e:#}")),
            }
        }
        Ok(())
    }
}

fn find(
    store: &Store,
    sleeper: &Sleeper<'_>,
    progress: &dyn Progress,
) -> Option<(Frozen, Rc<Memory>)> {
    let found = store
        .find(&sleeper.shape, sleeper.node.disk)
        .and_then(|frozen| {
            let Some(frozen) = frozen else {
                return Ok(None);
            };
            let memory = Rc::new(frozen.load()?);
            Ok(Some((frozen, memory)))
        });
    found.unwrap_or_else(|e| {
        progress.say(&format!(
            "the frozen machine ({}) cannot be used: {e:#}",
            sleeper.shape
        ));
        None
    })
}

/// Freezes machines, as many at once as there are cores.
async fn freeze_all<'a>(
    store: &Store,
    sleepers: Vec<Sleeper<'a>>,
    accelerator: &Accelerator,
    progress: &Rc<dyn Progress>,
) -> Vec<(&'a NodeRecord, Frozen, Rc<Memory>)> {
    let slots = Rc::new(Semaphore::new(usize::try_from(cores()).unwrap_or(1)));
    let all = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for Sleeper { shape, node, image } in sleepers {
        let (store, accelerator) = (store.clone(), accelerator.clone());
        let (slots, progress) = (Rc::clone(&slots), Rc::clone(progress));
        let (disk, image) = (node.disk, image.clone());
        let task = all.spawn_local(async move {
            let _slot = slots.acquire().await;
            progress.say(&format!(
                "freezing a machine of {shape} (once; nodes wake from it instead of booting)"
            ));
            freeze(&store, &shape, disk, &image, &accelerator)
                .await
                .map_err(|e| progress.say(&format!("nodes of {shape} boot cold: {e:#}")))
                .ok()
        });
        tasks.push((node, task));
    }
    all.await;
    let mut frozen = Vec::new();
    for (node, task) in tasks {
        if let Ok(Some((machine, memory))) = task.await {
            frozen.push((node, machine, Rc::new(memory)));
        }
    }
    frozen
}

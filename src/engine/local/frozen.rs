//! Chooses the frozen machines that new nodes wake from, and makes missing ones.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Result;
use kvmc_images::Image;
use tokio::sync::Semaphore;

use crate::host::cores;
use crate::image::Images;
use crate::model::{Accelerator, Progress};
use crate::node::{Filling, KeyPool, NicKind, fill_keys, node_cpu, unsafe_no_reseed, vcpus};
use crate::state::{ClusterDir, ClusterRecord, NodeRecord, Restoration};
use crate::warm::{Frozen, Hardware, LoadedMachines, Memory, Shape, Store, freeze};

/// The requested cluster and the existing one.
#[derive(Clone, Copy)]
pub(super) struct WantedFrozen<'a> {
    pub(super) record: &'a ClusterRecord,
    pub(super) existing: Option<&'a ClusterRecord>,
    pub(super) images: &'a Images,
    pub(super) dir: &'a ClusterDir,
}

/// A frozen machine that new nodes need, and one of these nodes.
struct NeededMachine<'a> {
    shape: Shape,
    node: &'a NodeRecord,
    image: &'a Image,
}

/// The shape of a node on this host.
///
/// # Errors
/// Fails if QEMU is missing.
pub(super) fn shape_of(record: &ClusterRecord, node: &NodeRecord, image: &Image) -> Result<Shape> {
    let accelerator = &record.accelerator;
    let nics = NicKind::of(record.nics(node).map(|(network, _)| network));
    let has_own_cpu = !node.cpu.is_empty() || node.nested.is_some();
    let hardware = Hardware {
        vcpus: vcpus(node.vcpus, accelerator),
        ram: node.ram,
        cpu: has_own_cpu.then(|| node_cpu(node, accelerator, image.architecture)),
        nics,
        extra_disks: node.disks.len(),
    };
    Shape::new(image, accelerator, hardware)
}

impl<'a> WantedFrozen<'a> {
    fn is_new(&self, node: &NodeRecord) -> bool {
        self.existing.is_none_or(|r| r.node(&node.name).is_err())
    }

    fn shape(&self, node: &NodeRecord, image: &Image) -> Result<Shape> {
        shape_of(self.record, node, image)
    }

    /// The distinct frozen machines that new nodes need.
    fn needed(&self) -> Result<Vec<NeededMachine<'a>>> {
        let mut all: Vec<NeededMachine<'a>> = Vec::new();
        // Without an agent, a woken node cannot be given its identity.
        let wakes = |n: &&NodeRecord| !n.seeded && self.is_new(n);
        for node in self.record.nodes.iter().filter(wakes) {
            // An image that does not exist yet has no frozen machine.
            let Ok(image) = self.images.of(node) else {
                continue;
            };
            let shape = self.shape(node, image)?;
            let is_same = |s: &NeededMachine<'_>| s.shape == shape && s.node.disk == node.disk;
            if !all.iter().any(is_same) {
                all.push(NeededMachine { shape, node, image });
            }
        }
        Ok(all)
    }

    /// The machines that `up` would freeze.
    ///
    /// # Errors
    /// Fails if QEMU is missing or if the store cannot be read.
    pub(super) fn missing(&self, store: &Store) -> Result<Vec<Shape>> {
        let mut missing = Vec::new();
        for NeededMachine { shape, node, .. } in self.needed()? {
            if store.find(&shape, node.disk)?.is_none() {
                missing.push(shape);
            }
        }
        Ok(missing)
    }

    /// Bytes of memory that the nodes to be started share. Each node maps its frozen machine's memory, and all but the
    /// first share it. Pages that a node writes become its own, but most pages hold the kernel, programs and caches.
    ///
    /// # Errors
    /// Fails if QEMU is missing or if the store cannot be read.
    pub(super) fn shared(&self, store: &Store, starting: &[&NodeRecord]) -> Result<u64> {
        let loaded = store.list()?;
        // What is restored lies on frozen memory, too.
        let is_restored = Restoration::decided(self.dir)?.is_some();
        let mut wake: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for node in starting {
            let frozen = match self.images.of(node) {
                _ if !self.is_new(node) => {
                    let is_asleep = self.dir.node(&node.name).asleep().exists();
                    let id = node.base.frozen().filter(|_| is_asleep || is_restored);
                    loaded.iter().find(|f| Some(f.id.as_str()) == id)
                }
                Ok(image) if !node.seeded => {
                    let shape = self.shape(node, image)?;
                    let fits = |f: &&Frozen| *f.shape() == shape && f.disk_size() <= node.disk;
                    loaded.iter().find(fits)
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

    /// Loads or makes the frozen machines of new nodes, and loads those of nodes that have not woken yet. If a frozen
    /// machine cannot be made, a line says so and its nodes boot.
    ///
    /// # Errors
    /// Fails if QEMU is missing.
    pub(super) async fn prepare(
        &self,
        store: Store,
        keys: &KeyPool,
        progress: &Rc<dyn Progress>,
    ) -> Result<LoadedMachines> {
        if unsafe_no_reseed() {
            progress.say("KVMC_UNSAFE_NO_RESEED=1: the nodes will share their random numbers, and any keys made from them");
        }
        let mut loaded = LoadedMachines::none(store.clone());
        let mut to_freeze = Vec::new();
        for needed in self.needed()? {
            match find(&store, &needed, progress.as_ref()) {
                Some((frozen, memory)) => loaded.add(needed.node, &frozen, &memory),
                None => to_freeze.push(needed),
            }
        }
        if !to_freeze.is_empty() {
            // The processor has time now, and the keys are needed soon.
            let (keys, nodes) = (keys.clone(), self.record.nodes.len());
            loaded.keep(Filling::start(move |wanted| {
                fill_keys(&keys, nodes, wanted)
            }));
        }
        let accelerator = &self.record.accelerator;
        for (node, frozen, memory) in freeze_all(&store, to_freeze, accelerator, progress).await {
            loaded.add(node, &frozen, &memory);
        }
        self.load_asleep(&mut loaded, progress.as_ref())?;
        Ok(loaded)
    }

    /// Loads the frozen machines of cloned nodes that have not run yet.
    fn load_asleep(&self, loaded: &mut LoadedMachines, progress: &dyn Progress) -> Result<()> {
        let nodes = self.existing.iter().flat_map(|r| &r.nodes);
        let asleep = nodes.filter_map(|node| {
            let frozen = node.base.frozen()?;
            let is_asleep = self.dir.node(&node.name).asleep().exists();
            is_asleep.then_some((node, frozen))
        });
        for (node, id) in asleep {
            if loaded.memory(id).is_some() {
                continue;
            }
            // QEMU or the accelerator may have changed since.
            let shape = self.shape(node, self.images.of(node)?)?;
            let fits = |f: &Frozen| f.id == *id && *f.shape() == shape;
            let Some(frozen) = loaded.store().list()?.into_iter().find(fits) else {
                continue;
            };
            match frozen.load() {
                Ok(memory) => loaded.load(id, &Rc::new(memory)),
                Err(e) => progress.say(&format!("cloned nodes boot instead of waking: {e:#}")),
            }
        }
        Ok(())
    }
}

fn find(
    store: &Store,
    needed: &NeededMachine<'_>,
    progress: &dyn Progress,
) -> Option<(Frozen, Rc<Memory>)> {
    let found = store
        .find(&needed.shape, needed.node.disk)
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
            needed.shape
        ));
        None
    })
}

/// Freezes machines, as many at once as there are cores.
async fn freeze_all<'a>(
    store: &Store,
    needed: Vec<NeededMachine<'a>>,
    accelerator: &Accelerator,
    progress: &Rc<dyn Progress>,
) -> Vec<(&'a NodeRecord, Frozen, Rc<Memory>)> {
    let slots = Rc::new(Semaphore::new(usize::try_from(cores()).unwrap_or(1)));
    let all = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for NeededMachine { shape, node, image } in needed {
        let (store, accelerator) = (store.clone(), accelerator.clone());
        let (slots, progress) = (Rc::clone(&slots), Rc::clone(progress));
        let (disk, image) = (node.disk, image.clone());
        let task = all.spawn_local(async move {
            let _slot = slots.acquire().await;
            progress.say(&format!(
                "freezing a machine of {shape}; it is done once, and nodes wake from it instead of booting"
            ));
            let what = format!("freezing a machine of {shape}");
            progress.begin(&what);
            let frozen = freeze(&store, &shape, disk, &image, &accelerator).await;
            progress.finish(&what);
            frozen
                .map_err(|e| progress.say(&format!("nodes of {shape} boot instead of waking: {e:#}")))
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

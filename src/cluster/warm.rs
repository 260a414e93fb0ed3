//! Which frozen machines a cluster's new nodes wake from; made where there are none.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::Result;
use kvmc_images::Image;
use tokio::sync::Semaphore;

use crate::host::cores;
use crate::image::Images;
use crate::model::Accelerator;
use crate::model::Progress;
use crate::node::{CardKind, Filling, KeyPool, fill_keys, unsafe_no_reseed, vcpus};
use crate::spec::Bytes;
use crate::state::{ClusterDir, ClusterRecord, NodeRecord};
use crate::warm::{Frozen, Memory, Shape, Store, freeze};

/// The frozen machines at hand, with their memory.
#[derive(Debug, Clone)]
pub(crate) struct Warm {
    pub(crate) store: Store,
    /// By the frozen machine's id.
    memories: BTreeMap<String, Rc<Memory>>,
    /// Ids by image, RAM, vcpus and disk of the nodes that wake.
    by_shape: BTreeMap<(String, Bytes, u32, Bytes), String>,
    /// Made while a machine is frozen.
    keys: Option<Rc<Filling>>,
}

impl Warm {
    /// None at hand: every node boots.
    pub(crate) fn none(store: Store) -> Self {
        Self {
            store,
            memories: BTreeMap::new(),
            by_shape: BTreeMap::new(),
            keys: None,
        }
    }

    pub(super) fn memory(&self, id: &str) -> Option<Rc<Memory>> {
        self.memories.get(id).map(Rc::clone)
    }

    fn insert(&mut self, disk: Bytes, frozen: &Frozen, memory: Memory) {
        let shape = frozen.shape();
        self.by_shape.insert(
            (shape.image.clone(), shape.ram, shape.vcpus, disk),
            frozen.id.clone(),
        );
        self.memories.insert(frozen.id.clone(), Rc::new(memory));
    }

    /// Gives each node that is new the frozen machine that it will lie on.
    pub(crate) fn assign(&self, record: &mut ClusterRecord, existing: Option<&ClusterRecord>) {
        let accelerator = record.accelerator.clone();
        let cluster_image = record.image.clone();
        for node in &mut record.nodes {
            if existing.is_none_or(|r| r.node(&node.name).is_err()) {
                let image = node.image.as_ref().unwrap_or(&cluster_image).clone();
                let shape = (image, node.ram, vcpus(node.vcpus, &accelerator), node.disk);
                node.frozen = self.by_shape.get(&shape).cloned();
            }
        }
    }
}

/// The shapes of a record's nodes that are new, with their disks, each once.
fn shapes<'a>(
    record: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    images: &'a Images,
) -> Result<Vec<(Shape, Bytes, &'a Image)>> {
    let mut shapes: Vec<(Shape, Bytes, &Image)> = Vec::new();
    // Nobody could tell a woken one without an agent who it is.
    let is_new = |n: &&NodeRecord| !n.seeded && existing.is_none_or(|r| r.node(&n.name).is_err());
    for node in record.nodes.iter().filter(is_new) {
        // One that is still to be made has no frozen machine yet.
        let Ok(image) = images.of(record, node) else {
            continue;
        };
        let vcpus = vcpus(node.vcpus, &record.accelerator);
        let cards = CardKind::of(record.networks());
        let shape = Shape::new(image, &record.accelerator, vcpus, node.ram, cards)?;
        if !shapes
            .iter()
            .any(|(s, disk, _)| *s == shape && *disk == node.disk)
        {
            shapes.push((shape, node.disk, image));
        }
    }
    Ok(shapes)
}

/// The machines that `up` would freeze.
///
/// # Errors
/// No QEMU, or a folder that cannot be read.
pub(crate) fn missing(
    store: &Store,
    record: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    images: &Images,
) -> Result<Vec<Shape>> {
    let mut missing = Vec::new();
    for (shape, disk, _) in shapes(record, existing, images)? {
        if store.find(&shape, disk)?.is_none() {
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
pub(crate) fn shared(
    store: &Store,
    record: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    images: &Images,
    dir: &ClusterDir,
    starting: &[&NodeRecord],
) -> Result<u64> {
    let at_hand = store.list()?;
    let mut wake: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let new = shapes(record, existing, images)?;
    for node in starting {
        let is_known = existing.is_some_and(|r| r.node(&node.name).is_ok());
        let frozen = if is_known {
            let is_asleep = dir.node(&node.name).asleep().exists();
            let id = node.frozen.as_ref().filter(|_| is_asleep);
            at_hand.iter().find(|f| Some(&f.id) == id)
        } else {
            let vcpus = vcpus(node.vcpus, &record.accelerator);
            let shape = new.iter().find(|(shape, disk, _)| {
                shape.image == record.image_of(node)
                    && (shape.vcpus, shape.ram, *disk) == (vcpus, node.ram, node.disk)
            });
            shape.and_then(|(shape, disk, _)| {
                let fits = |f: &&Frozen| f.shape() == shape && f.disk_size() <= *disk;
                at_hand.iter().find(fits)
            })
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
pub(crate) async fn prepare(
    store: Store,
    record: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    images: &Images,
    dir: &ClusterDir,
    keys: &KeyPool,
    progress: &Rc<dyn Progress>,
) -> Result<Warm> {
    if unsafe_no_reseed() {
        progress.say("KVMC_UNSAFE_NO_RESEED=1: the nodes will share their random numbers, and keys made of them");
    }
    let mut warm = Warm::none(store.clone());
    let mut to_freeze = Vec::new();
    for (shape, disk, image) in shapes(record, existing, images)? {
        match find(&store, &shape, disk, progress) {
            Some((frozen, memory)) => warm.insert(disk, &frozen, memory),
            None => to_freeze.push((shape, disk, image.clone())),
        }
    }
    let accelerator = &record.accelerator;
    if !to_freeze.is_empty() {
        // The processor has time now, and the keys are needed right after.
        let (keys, nodes) = (keys.clone(), record.nodes.len());
        warm.keys = Some(Rc::new(Filling::start(move |wanted| {
            fill_keys(&keys, nodes, wanted)
        })));
    }
    for (disk, frozen, memory) in freeze_all(&store, to_freeze, accelerator, progress).await {
        warm.insert(disk, &frozen, memory);
    }
    let asleep = existing.iter().flat_map(|r| &r.nodes).filter_map(|n| {
        let id = n.frozen.as_ref()?;
        dir.node(&n.name).asleep().exists().then_some((n, id))
    });
    for (node, id) in asleep {
        let vcpus = vcpus(node.vcpus, accelerator);
        // QEMU or the accelerator may be another one by now.
        let cards = CardKind::of(record.networks());
        let shape = Shape::new(
            images.of(record, node)?,
            accelerator,
            vcpus,
            node.ram,
            cards,
        )?;
        let fits = |f: &Frozen| f.id == *id && *f.shape() == shape;
        if !warm.memories.contains_key(id)
            && let Some(frozen) = store.list()?.into_iter().find(fits)
        {
            match frozen.load() {
                Ok(memory) => drop(warm.memories.insert(id.clone(), Rc::new(memory))),
                Err(e) => progress.say(&format!("nodes that were asleep boot: {e:#}")),
            }
        }
    }
    Ok(warm)
}

fn find(
    store: &Store,
    shape: &Shape,
    disk: Bytes,
    progress: &Rc<dyn Progress>,
) -> Option<(Frozen, Memory)> {
    let found = store.find(shape, disk).and_then(|frozen| {
        let Some(frozen) = frozen else {
            return Ok(None);
        };
        frozen.load().map(|memory| Some((frozen, memory)))
    });
    found.unwrap_or_else(|e| {
        progress.say(&format!("the frozen machine ({shape}) is no good: {e:#}"));
        None
    })
}

/// Freezes machines, as many at once as there are cores.
async fn freeze_all(
    store: &Store,
    shapes: Vec<(Shape, Bytes, Image)>,
    accelerator: &Accelerator,
    progress: &Rc<dyn Progress>,
) -> Vec<(Bytes, Frozen, Memory)> {
    let slots = Rc::new(Semaphore::new(usize::try_from(cores()).unwrap_or(1)));
    let all = tokio::task::LocalSet::new();
    let tasks: Vec<_> = shapes
        .into_iter()
        .map(|(shape, disk, image)| {
            let (store, accelerator) = (store.clone(), accelerator.clone());
            let (slots, progress) = (Rc::clone(&slots), Rc::clone(progress));
            all.spawn_local(async move {
                let _slot = slots.acquire().await;
                progress.say(&format!(
                    "freezing a machine of {shape} (once; nodes wake from it instead of booting)"
                ));
                freeze(&store, &shape, disk, &image, &accelerator)
                    .await
                    .map(|(frozen, memory)| (disk, frozen, memory))
                    .map_err(|e| progress.say(&format!("nodes of {shape} boot cold: {e:#}")))
                    .ok()
            })
        })
        .collect();
    all.await;
    let mut frozen = Vec::new();
    for task in tasks {
        frozen.extend(task.await.ok().flatten());
    }
    frozen
}

//! The frozen machines that a run of `up` wakes nodes from, with their memory loaded.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Frozen, Memory, Store};
use crate::model::Accelerator;
use crate::node::{Filling, vcpus};
use crate::spec::Bytes;
use crate::state::{Base, NodeRecord};

/// The properties by which a frozen machine fits a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    image: String,
    ram: Bytes,
    vcpus: u32,
    disk: Bytes,
    extra_disks: usize,
    cpu: (String, Option<bool>),
    /// Of its NICs.
    networks: Vec<String>,
}

impl Fit {
    fn new(node: &NodeRecord, image: &str, ram: Bytes, vcpus: u32) -> Self {
        Self {
            image: image.to_owned(),
            ram,
            vcpus,
            disk: node.disk,
            extra_disks: node.disks.len(),
            cpu: (node.cpu.clone(), node.nested),
            networks: node.nics.iter().map(|nic| nic.network.clone()).collect(),
        }
    }
}

/// The loaded frozen machines of a run.
#[derive(Debug, Clone)]
pub(crate) struct LoadedMachines {
    store: Store,
    /// The memory by the frozen machine's id.
    memories: BTreeMap<String, Rc<Memory>>,
    /// Ids of frozen machines by the properties that they fit.
    by_fit: BTreeMap<Fit, String>,
    /// Makes keys while a machine is frozen.
    keys: Option<Rc<Filling>>,
}

impl LoadedMachines {
    /// No frozen machine, so that every node boots.
    pub(crate) const fn none(store: Store) -> Self {
        Self {
            store,
            memories: BTreeMap::new(),
            by_fit: BTreeMap::new(),
            keys: None,
        }
    }

    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn memory(&self, id: &str) -> Option<Rc<Memory>> {
        self.memories.get(id).map(Rc::clone)
    }

    /// Continues to make keys while this value lives.
    pub(crate) fn keep(&mut self, keys: Filling) {
        self.keys = Some(Rc::new(keys));
    }

    /// Adds a machine that fits nodes like this one.
    pub(crate) fn add(&mut self, node: &NodeRecord, frozen: &Frozen, memory: &Rc<Memory>) {
        let shape = frozen.shape();
        let fit = Fit::new(node, &shape.image, shape.ram, shape.vcpus);
        self.by_fit.insert(fit, frozen.id.clone());
        self.load(&frozen.id, memory);
    }

    /// Adds the memory of a machine on which existing nodes lie.
    pub(crate) fn load(&mut self, id: &str, memory: &Rc<Memory>) {
        self.memories.insert(id.to_owned(), Rc::clone(memory));
    }

    /// Assigns a new node the frozen machine that its disk will lie on.
    pub(crate) fn assign(&self, node: &mut NodeRecord, accelerator: &Accelerator) {
        let image = node.base.image().to_owned();
        let vcpus = vcpus(node.vcpus, accelerator);
        let fit = Fit::new(node, &image, node.ram, vcpus);
        if let Some(frozen) = self.by_fit.get(&fit) {
            let frozen = frozen.clone();
            node.base = Base::Frozen { frozen, image };
        }
    }
}

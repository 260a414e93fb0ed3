//! Writes the nodes' streams, while the nodes go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};

use super::folder;
use super::sources::Source;
use crate::snapshot::{Delta, Fits, Machine, NodePart, Stored, compose, pack};
use crate::state::ClusterRecord;
use crate::warm::Store;

/// A written stream.
pub(super) struct Written {
    pub(super) node: String,
    pub(super) stream: Stored,
    /// Bytes of memory that the guest has.
    pub(super) ram: u64,
    /// The frozen machine that its memory lies on.
    pub(super) frozen: Option<String>,
}

impl Written {
    /// The node's name and its part of a manifest.
    ///
    /// # Errors
    /// Fails if it is not known what the node needs.
    pub(super) fn part(
        self,
        present: &BTreeMap<String, Fits>,
        chains: Vec<Vec<String>>,
    ) -> Result<(String, NodePart)> {
        let fits = present.get(&self.node).cloned();
        let part = NodePart {
            fits: fits.with_context(|| format!("{} is not known", self.node))?,
            ram: self.ram,
            stream: self.stream,
            frozen: self.frozen,
            chains,
        };
        Ok((self.node, part))
    }
}

/// Writes and syncs the streams of all nodes, as many at once as there are cores.
///
/// # Errors
/// Fails if a state cannot be read or a file cannot be written.
pub(super) fn write_streams(
    frozen: &Store,
    record: &ClusterRecord,
    sources: Vec<Source>,
    deltas: Vec<Delta>,
    folder: &Path,
) -> Result<Vec<Written>> {
    let work: Vec<_> = sources.into_iter().zip(deltas).collect();
    let next = Mutex::new(work.into_iter());
    let some = || -> Result<Vec<Written>> {
        let mut written = Vec::new();
        loop {
            let taken = next.lock().ok().and_then(|mut next| next.next());
            let Some((source, delta)) = taken else {
                return Ok(written);
            };
            let name = source.name.clone();
            let one = write_one(frozen, record, source, delta, folder);
            written.push(one.with_context(|| format!("{name} cannot be saved"))?);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let written = worker.join();
            all.extend(written.map_err(|_| anyhow!("a thread that writes a stream panicked"))??);
        }
        Ok(all)
    })
}

fn write_one(
    frozen: &Store,
    record: &ClusterRecord,
    source: Source,
    mut delta: Delta,
    folder: &Path,
) -> Result<Written> {
    let node = record.node(&source.name)?;
    delta.drop_equal(source.frozen.as_ref())?;
    let below = match &source.frozen {
        Some(_) => Some(node.base.frozen().context("it has no frozen machine")?),
        None => None,
    };
    let state = below.map(|id| fs_err::read(frozen.state(id))).transpose()?;
    let ram = source.ram.size();
    let machine = match &state {
        Some(state) => Machine::woken(state, ram)?,
        None => {
            let kind = fs_err::read_to_string(folder::kind(folder, &node.name))?;
            Machine::booted(record.spec.architecture, &kind, ram)?
        }
    };
    let saved = folder::devices(folder, &node.name);
    let devices = fs_err::read(&saved)?;
    let stream = pack(&folder::stream(folder, &node.name), |out| {
        compose(out, &machine, state.as_deref(), &devices, &delta)
    })?;
    fs_err::remove_file(&saved)?;
    fs_err::remove_file(folder::kind(folder, &node.name))?;
    Ok(Written {
        node: node.name.clone(),
        stream,
        ram,
        frozen: below.map(str::to_owned),
    })
}

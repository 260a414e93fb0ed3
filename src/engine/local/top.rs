//! `top`: a look at a cluster that costs little, since it is repeated.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Local;
use super::reach::FollowedLog;
use super::status::node_status;
use crate::host::{host_load, link_bytes};
use crate::keeper::Keeper;
use crate::model::{Board, TopNode, TopSample, Traffic};
use crate::node::{MemoryUsage, disk_bytes};
use crate::state::{ClusterRecord, Found, NodeRecord};

/// A keeper that hangs must not keep the other columns from being shown.
const KEEPER: Duration = Duration::from_millis(500);

/// Looks at a cluster again and again.
#[derive(Debug)]
pub(crate) struct Watch {
    local: Local,
    began: Instant,
    /// How the memory of each QEMU is shared, by pid.
    memory: BTreeMap<i32, MemoryUsage>,
    /// The number of looks so far.
    turn: usize,
}

impl Local {
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            local: self.clone(),
            began: Instant::now(),
            memory: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Follows the logs of a node.
    ///
    /// # Errors
    /// Fails if there is no such node.
    pub(crate) fn follow_log(&self, node: &str) -> Result<FollowedLog> {
        self.require()?.node(node)?;
        Ok(FollowedLog::open(&self.dir(), node))
    }

    /// The error for a cluster that does not exist, for verbs that have seen so.
    pub(crate) fn missing(&self) -> anyhow::Error {
        self.nothing_there()
    }
}

impl Watch {
    /// Looks once. A cluster that does not exist, or no longer, has no phase.
    ///
    /// # Errors
    /// Fails if the record cannot be read.
    pub(crate) async fn look(&mut self) -> Result<TopSample> {
        let dir = self.local.dir();
        let mut sample = TopSample {
            cluster: self.local.cluster.clone(),
            host: host_load(),
            time: self.began.elapsed().as_secs_f64(),
            ..TopSample::default()
        };
        let record = match Found::look(&dir) {
            Found::Nothing => return Ok(sample),
            Found::Whole(record) | Found::Copy(record, _) => record,
            Found::Unreadable(error) | Found::NotOurs(error) => return Err(error),
        };
        let keeper = Keeper::of(&dir, &self.local.cluster);
        let board = tokio::time::timeout(KEEPER, keeper.board_of_any_version()).await;
        let board = board.ok().and_then(Result::ok).map(|(board, _)| board);
        sample.phase = Some(record.phase.name().to_owned());
        record
            .accelerator
            .name()
            .clone_into(&mut sample.accelerator);
        sample.keeper = board.is_some();
        let links = link_bytes();
        sample.time = self.began.elapsed().as_secs_f64();
        let nodes = record.nodes.iter();
        sample.nodes = nodes
            .map(|node| self.node(&record, node, board.as_ref(), &links))
            .collect();
        self.measure(&mut sample.nodes);
        Ok(sample)
    }

    fn node(
        &self,
        record: &ClusterRecord,
        node: &NodeRecord,
        board: Option<&Board>,
        links: &BTreeMap<String, (u64, u64)>,
    ) -> TopNode {
        let status = node_status(record, node, &self.local.dir(), board);
        let role = record.spec.roles.iter().find(|r| r.name == node.role);
        let groups = role.iter().flat_map(|r| r.groups.clone());
        let taps = node.nics.iter().filter_map(|nic| links.get(&nic.tap));
        // What a tap receives, its guest has sent.
        let (sent, received) = taps.fold((0, 0), |(a, b), (rx, tx)| (a + rx, b + tx));
        let traffic = status.pid.map(|pid| {
            let (read, written) = disk_bytes(pid).unwrap_or_default();
            Traffic {
                received,
                sent,
                read,
                written,
            }
        });
        let machine = status.machine.as_ref();
        TopNode {
            groups: std::iter::once(node.role.clone()).chain(groups).collect(),
            vcpus: machine.map_or(node.vcpus, |m| m.vcpus),
            ram: machine.map_or(node.ram.0, |m| m.ram),
            name: status.name,
            state: status.state,
            pid: status.pid,
            usage: status.usage,
            traffic,
        }
    }

    /// Measures how memory is shared, of new QEMUs and of one other, since it takes milliseconds for each GB.
    fn measure(&mut self, nodes: &mut [TopNode]) {
        let running: Vec<i32> = nodes.iter().filter_map(|n| n.pid).collect();
        self.memory.retain(|pid, _| running.contains(pid));
        let turn = self.turn.checked_rem(running.len()).unwrap_or(0);
        self.turn = self.turn.wrapping_add(1);
        for (at, pid) in running.iter().enumerate() {
            if (at == turn || !self.memory.contains_key(pid))
                && let Some(memory) = MemoryUsage::of(*pid)
            {
                self.memory.insert(*pid, memory);
            }
        }
        for node in nodes {
            if let Some(memory) = node.pid.and_then(|pid| self.memory.get(&pid)) {
                node.usage.pss = Some(memory.pss);
                node.usage.shared = Some(memory.shared);
                node.usage.private = Some(memory.private);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::samples::Silent;

    #[tokio::test]
    async fn a_cluster_that_is_not_there_has_no_phase_and_no_nodes() {
        let root = tempfile::tempdir().unwrap();
        let local = Local::at(root.path(), "k80", Duration::ZERO, Rc::new(Silent));
        let sample = local.watch().look().await.unwrap();
        assert_eq!((sample.phase, sample.nodes.len()), (None, 0));
        assert!(sample.host.cores > 0);
        assert!(local.follow_log("master0").is_err());
    }

    #[test]
    fn memory_is_measured_of_one_node_a_look_and_at_once_of_new_ones() {
        let root = tempfile::tempdir().unwrap();
        let local = Local::at(root.path(), "k80", Duration::ZERO, Rc::new(Silent));
        let mut watch = local.watch();
        let own = i32::try_from(std::process::id()).ok();
        let node = |pid| TopNode {
            pid,
            ..TopNode::default()
        };
        let mut nodes = [node(own), node(None)];
        watch.measure(&mut nodes);
        assert!(nodes[0].usage.private.unwrap() > 0);
        assert_eq!(nodes[1].usage.private, None);
        // What has ended is forgotten.
        watch.measure(&mut [node(None)]);
        assert!(watch.memory.is_empty());
    }
}

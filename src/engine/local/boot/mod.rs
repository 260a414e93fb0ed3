//! Starts nodes and follows them until they are ready. As many nodes boot at once as there are cores, because more at
//! once are slower. Waking nodes wait for each other only under emulation, because with KVM a waking node hardly needs
//! a core.

mod attempt;
mod slots;
mod words;

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

use self::attempt::NodeStart;
use self::slots::Slots;
#[cfg(test)]
pub(crate) use self::words::last_event;
use crate::host::cores;
use crate::image::Images;
use crate::keeper::{Keeper, Request};
use crate::model::{NodeFailure, Progress, Stage};
use crate::state::{ClusterDir, ClusterRecord};
use crate::warm::LoadedMachines;

/// What all nodes of a start share.
pub(super) struct Boot<'a> {
    pub(super) record: &'a ClusterRecord,
    pub(super) images: &'a Images,
    pub(super) frozen: &'a LoadedMachines,
    pub(super) dir: &'a ClusterDir,
    pub(super) links: &'a kvmc_netns::Links,
    pub(super) progress: &'a Rc<dyn Progress>,
    /// Time that each node has to become ready.
    pub(super) timeout: Duration,
}

impl Boot<'_> {
    /// Starts the nodes, follows the nodes that an earlier run has started, and returns those that did not become
    /// ready.
    ///
    /// # Errors
    /// Fails if the keeper does not answer.
    pub(super) async fn run(&self, nodes: &[String]) -> Result<Vec<NodeFailure>> {
        let record = self.record;
        let keeper = Keeper::of(self.dir, &record.spec.name);
        keeper.ensure().await?;
        keeper.ask(&Request::Sync).await?;
        let board = keeper.watch().await?;
        let joined: Vec<_> = {
            let board = board.borrow();
            let on_the_way = |n: &String| board.get(n).is_some_and(|v| v.stage < Stage::Ready);
            let names = record.nodes.iter().map(|n| &n.name);
            names
                .filter(|n| !nodes.contains(n) && on_the_way(n))
                .cloned()
                .collect()
        };
        let slots = Rc::new(Slots::of(cores(), &record.accelerator));
        let all = tokio::task::LocalSet::new();
        let mut tasks = Vec::new();
        for name in nodes.iter().chain(&joined) {
            let start = NodeStart {
                name: name.clone(),
                record: record.clone(),
                image: self.images.of(record.node(name)?)?.clone(),
                frozen: self.frozen.clone(),
                dir: self.dir.clone(),
                links: self.links.clone(),
                keeper: keeper.clone(),
                timeout: self.timeout,
                progress: Rc::clone(self.progress),
            };
            let (slots, board) = (Rc::clone(&slots), board.clone());
            let starts = nodes.contains(name);
            tasks.push(all.spawn_local(async move {
                let result = start.bring(starts, &board, &slots).await;
                (start.name, result)
            }));
        }
        all.await;
        let mut failed = Vec::new();
        for task in tasks {
            if let (node, Err(e)) = task.await.context("the task that starts a node stopped")? {
                self.progress.stage(&node, Stage::Ended, "failed");
                let why = format!("{e:#}");
                failed.push(NodeFailure { node, why });
            }
        }
        Ok(failed)
    }
}

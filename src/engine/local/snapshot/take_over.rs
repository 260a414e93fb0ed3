//! QEMUs that stood by take the places of those that run: taps, sockets, and what the keeper attends.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kvmc_netns::Links;
use nix::sys::signal::Signal;

use super::standby::Standing;
use crate::engine::local::Local;
use crate::failpoint::failpoint;
use crate::keeper::{Keeper, Lead, Request, Step};
use crate::node::{Handle, is_stopped, spare_taps};
use crate::state::{ClusterDir, ClusterRecord, NodeDir, remove_file};
use crate::steps::node;

/// Longest time for the threads of stopped processes to stand still. One that writes to a disk stops after that.
const STILL: Duration = Duration::from_secs(5);
/// Interval between looks at them.
const LOOK: Duration = Duration::from_millis(1);
/// Time for the kernel to end a process with much memory.
const KILLED: Duration = Duration::from_secs(10);

/// A node's QEMU whose place another takes.
struct Old {
    name: String,
    handle: Handle,
    pid: i32,
}

/// The QEMUs whose places are taken. They stand still.
pub(super) struct Replaced(Vec<Old>);

impl Local {
    /// Lets the QEMUs that stand by run in the places of the others. The record names their images already.
    ///
    /// # Errors
    /// Fails if one does not run. A plain restore is possible then.
    pub(super) async fn take_over(
        &self,
        record: &ClusterRecord,
        standing: &Standing,
    ) -> Result<Replaced> {
        let keeper = Keeper::of(&self.dir(), self.name());
        keeper.ensure().await?;
        let mut lead = keeper.lead(&Request::TakeOver).await?;
        let swapped = self.swap(record, standing, &mut lead).await;
        if swapped.is_err() {
            lead.give_up().await;
        }
        swapped
    }

    async fn swap(
        &self,
        record: &ClusterRecord,
        standing: &Standing,
        lead: &mut Lead,
    ) -> Result<Replaced> {
        failpoint!("try.announced");
        let dir = self.dir();
        let old = running(&dir, record);
        stop(&old).await?;
        failpoint!("try.stopped");
        let spares = record
            .nodes
            .iter()
            .flat_map(|node| spare_taps(record, node));
        let spares: Vec<_> = spares.collect();
        Links::open()?.swap_taps(&spares).await?;
        failpoint!("try.taps");
        for (name, _) in &standing.running {
            move_in(&dir.node(name))?;
            failpoint!("try.moved");
        }
        lead.step(Step::Load).await?;
        lead.done().await?;
        failpoint!("try.attended");
        lead.step(Step::Go).await?;
        lead.done().await?;
        Ok(Replaced(old))
    }
}

/// The QEMUs that the nodes have now.
fn running(dir: &ClusterDir, record: &ClusterRecord) -> Vec<Old> {
    let nodes = record.nodes.iter();
    let running = nodes.filter_map(|n| {
        let (handle, pid) = node::look_up(dir, &n.name, &n.uuid)?;
        let name = n.name.clone();
        Some(Old { name, handle, pid })
    });
    running.collect()
}

/// Stops all of these processes, and waits until none of their threads runs. They send nothing from then on.
async fn stop(all: &[Old]) -> Result<()> {
    for old in all {
        old.handle.signal(Signal::SIGSTOP)?;
    }
    let until = Instant::now() + STILL;
    for old in all {
        while !is_stopped(old.pid) && !old.handle.has_ended(Duration::ZERO) {
            if Instant::now() > until {
                bail!("the QEMU of {} does not stand still", old.name);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Moves sockets and files of a QEMU that stood by to where those of the node's are. Its process's comes last: from then
/// on it is the node's.
fn move_in(dir: &NodeDir) -> Result<()> {
    let from = dir.standby();
    let pairs = [
        (from.qmp_socket(), dir.qmp_socket()),
        (from.agent_socket(), dir.agent_socket()),
        (from.console_socket(), dir.console_socket()),
        (from.qemu_log(), dir.qemu_log()),
        (from.process(), dir.process()),
    ];
    let variables = from.uefi_variables();
    if variables.exists() {
        fs_err::rename(&variables, dir.uefi_variables())?;
    }
    // A mark of the QEMU that stood here says nothing of the next one.
    remove_file(&dir.pausing())?;
    for (from, to) in pairs {
        fs_err::rename(from, to)?;
    }
    Ok(())
}

impl Replaced {
    /// Ends them.
    ///
    /// # Errors
    /// Fails if one does not end.
    pub(super) async fn end(self) -> Result<()> {
        for old in &self.0 {
            old.handle.signal(Signal::SIGKILL)?;
        }
        for old in &self.0 {
            if !old.handle.ended(KILLED).await {
                bail!("the QEMU that {} had before does not end", old.name);
            }
        }
        Ok(())
    }
}

//! `down`: nothing left. Goes on past errors, and treats what is gone already as done.

use std::time::Duration;

use anyhow::{Context, Result};
use kvmc_netns::Links;
use nix::sys::signal::Signal;

use super::artifacts;
use super::stop::process;
use super::traces::Traces;
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::keeper::Keeper;
use crate::network;
use crate::network::forwarding;
use crate::node::Handle;
use crate::state::{ClusterDir, ClusterRecord, Phase, State, remove_file};

/// What `down` did.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// Nodes that were running.
    pub(crate) killed: usize,
    /// All that went wrong.
    pub(crate) errors: Vec<anyhow::Error>,
    /// It was told to stop, and did.
    pub(crate) interrupted: bool,
    /// What was switched on and stays so, with the reason.
    pub(crate) kept: Option<String>,
}

/// The steps, in an order in which what is needed to find the rest goes last.
const STEPS: [Step; 5] = [
    Step::Record,
    Step::Processes,
    Step::Network,
    Step::Files,
    Step::Folder,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Record,
    Processes,
    Network,
    Files,
    Folder,
}

/// What is to be removed: by its record, if there is one, and by what bears its mark on the host.
#[derive(Debug)]
pub(crate) struct Doomed<'a> {
    pub(crate) record: Option<ClusterRecord>,
    pub(crate) traces: Traces,
    pub(crate) state: &'a State,
    pub(crate) dir: &'a ClusterDir,
    pub(crate) links: &'a Links,
}

/// Removes a cluster. The guests' data goes with it, so they are not asked to shut down.
///
/// While something cannot be removed the record stays, so that the next `down` finds it.
pub(crate) async fn down(mut doomed: Doomed<'_>, interrupt: &mut Interrupt) -> Removed {
    let mut removed = Removed::default();
    for step in STEPS {
        if interrupt.has_come().await {
            removed.interrupted = true;
            return removed;
        }
        if step == Step::Folder && !removed.errors.is_empty() {
            return removed;
        }
        let done = doomed.carry_out(step, &mut removed).await;
        removed.errors.extend(done.err());
    }
    removed
}

impl Doomed<'_> {
    async fn carry_out(&mut self, step: Step, removed: &mut Removed) -> Result<()> {
        match step {
            Step::Record => {
                if let Some(record) = &mut self.record {
                    record.phase = Phase::Removing;
                    record.save(self.dir)?;
                    failpoint!("down.record");
                }
                Ok(())
            }
            Step::Processes => self.end_processes(removed).await,
            Step::Network => {
                if let Some(record) = &self.record {
                    removed
                        .errors
                        .extend(network::accepts::remove(record, self.dir));
                    let errors = network::remove(record, self.links).await;
                    removed.errors.extend(errors);
                }
                let errors = self.traces.remove(self.links).await;
                removed.errors.extend(errors);
                let was_off = self
                    .record
                    .as_ref()
                    .is_some_and(|r| r.network.forwarding_was_off);
                removed.kept = forwarding::release(self.state, &self.dir.name(), was_off)
                    .context("failed to switch forwarding off again")?;
                failpoint!("down.network");
                Ok(())
            }
            Step::Files => {
                artifacts::remove(self.record.as_ref(), self.dir)?;
                failpoint!("down.files");
                Ok(())
            }
            Step::Folder => {
                remove_folder(self.dir)?;
                failpoint!("down.folder");
                Ok(())
            }
        }
    }

    async fn end_processes(&self, removed: &mut Removed) -> Result<()> {
        let nodes = self.record.iter().flat_map(|r| &r.nodes);
        let recorded = nodes.filter_map(|n| process(self.dir, &n.name, &n.uuid));
        let found = self.traces.qemus.iter().filter_map(|(_, i)| i.open());
        let handles: Vec<Handle> = if self.record.is_some() {
            recorded.collect()
        } else {
            found.collect()
        };
        removed.killed = handles.len();
        // A keeper's end leaves the QEMUs alone, and it starts none again once the record says `removing`.
        for handle in &handles {
            removed.errors.extend(handle.signal(Signal::SIGKILL).err());
        }
        failpoint!("down.killed");
        let keeper = Keeper::of(self.dir, &self.dir.name());
        removed.errors.extend(keeper.end().await.err());
        failpoint!("down.keeper");
        for handle in &handles {
            if !handle.ended(Duration::from_secs(10)).await {
                removed.errors.push(anyhow::anyhow!(
                    "a QEMU of `{}` does not end",
                    self.dir.name()
                ));
            }
        }
        Ok(())
    }
}

/// Removes a cluster's folder, the record last: killed in between, the rest is still a cluster's.
///
/// # Errors
/// The system's, with the path.
pub(super) fn remove_folder(dir: &ClusterDir) -> Result<()> {
    // The copy before the record: who looks without the lock must not find the copy alone.
    let last = [dir.last_record(), dir.record(), dir.lock()];
    let entries = match fs_err::read_dir(dir.path()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if last.contains(&path) {
            continue;
        }
        if fs_err::symlink_metadata(&path)?.is_dir() {
            fs_err::remove_dir_all(&path)?;
        } else {
            remove_file(&path)?;
        }
    }
    failpoint!("down.nodes");
    for path in last {
        remove_file(&path)?;
    }
    match fs_err::remove_dir(dir.path()) {
        // The next kvmc is waiting for its turn in it already.
        Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty => return Ok(()),
        removed => removed?,
    }
    // The last cluster's folder of clusters; refused while there is another.
    let _others_there = dir.path().parent().map(std::fs::remove_dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_the_copy_goes_before_the_record_and_the_lock_last() {
        let root = tempfile::tempdir().unwrap();
        let dir = State::at(root.path()).cluster("k80");
        let order = [dir.last_record(), dir.record(), dir.lock()];
        for (stuck, in_the_way) in order.iter().enumerate() {
            std::fs::create_dir_all(dir.node("master0").path()).unwrap();
            for path in &order {
                std::fs::write(path, "").unwrap();
            }
            // A folder in a file's place cannot be removed as one: there it ends.
            std::fs::remove_file(in_the_way).unwrap();
            std::fs::create_dir(in_the_way).unwrap();
            let error = remove_folder(&dir).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains(&in_the_way.display().to_string()),
                "{error}"
            );
            assert!(!dir.node("master0").path().exists(), "the rest goes first");
            for (n, path) in order.iter().enumerate() {
                assert_eq!(path.exists(), n >= stuck, "{} at {stuck}", path.display());
            }
            std::fs::remove_dir(in_the_way).unwrap();
        }
        remove_folder(&dir).unwrap();
        assert!(!dir.path().exists());
    }
}

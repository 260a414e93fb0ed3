//! `stop --suspend`: saves all nodes and ends their QEMUs. The next start goes on from there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use kvmc_netns::Links;

use super::pause::{Paused, Prepared, pause, prepare};
use super::save::{check_runs, manifest};
use super::streams::write_streams;
use super::{folder, sweep};
use crate::engine::local::Local;
use crate::engine::local::removal::carry_out;
use crate::failpoint::failpoint;
use crate::interrupt::Interrupt;
use crate::keeper::{Keeper, Step};
use crate::model::{Interrupted, Saved};
use crate::plan;
use crate::snapshot::Name;
use crate::state::{ClusterRecord, Restoration, remove_file, replace_json};

/// The name in the manifest of a suspended cluster.
const NAME: &str = "suspended";
/// Nothing is left to be asked to power off.
const NO_PATIENCE: Duration = Duration::ZERO;

impl Local {
    /// Saves all nodes at one instant and ends them. The next start goes on from there, also after the host's reboot.
    ///
    /// # Errors
    /// Fails if a node is not ready or cannot be saved, or if it was [`Interrupted`]. The nodes go on.
    pub(crate) async fn suspend(&self) -> Result<Saved> {
        let began = Instant::now();
        check_runs(self, &self.require()?)?;
        let mut interrupt = Interrupt::listen()?;
        let (mut record, _lock) = self.lock("stop --suspend", &mut interrupt).await?;
        self.recover(&mut record).await?;
        check_runs(self, &record)?;
        let dir = self.dir();
        let saved = match self.save_whole(&record, &mut interrupt).await {
            Ok(saved) => saved,
            Err(error) => {
                let keeper = Keeper::of(&dir, &self.cluster);
                let _told_by_the_next_verb = keeper.ensure().await;
                sweep::sweep(&dir, &mut record)?;
                return Err(error);
            }
        };
        // As with `stop`, the user wants it to stay so when the host starts.
        remove_file(&dir.at_boot())?;
        let links = Links::open()?;
        let steps = plan::stop(&record);
        let host = self.host(&dir, &links);
        let removed = carry_out(
            &steps,
            Some(&mut record),
            host,
            NO_PATIENCE,
            &mut interrupt,
            &|_, _| {},
        );
        let removed = removed.await?;
        if removed.interrupted {
            let stop = self.command("stop");
            let how = format!("the nodes are saved; {stop} removes their network");
            return Err(Interrupted(how).into());
        }
        match removed.errors.into_iter().next() {
            Some(error) => {
                Err(error.context("the nodes are saved, but not all of their network is removed"))
            }
            None => Ok(Saved {
                took: began.elapsed(),
                ..saved
            }),
        }
    }

    async fn save_whole(&self, record: &ClusterRecord, interrupt: &mut Interrupt) -> Result<Saved> {
        let dir = self.dir();
        let Prepared {
            keeper,
            sources,
            present,
            unfinished,
        } = prepare(self, record).await?;
        let pause = pause(&keeper, &dir, &sources, None, interrupt);
        let Paused {
            mut lead,
            deltas,
            time,
            stood,
        } = pause.await?;
        let frozen = self.frozen();
        let streams = write_streams(&frozen, record, sources, deltas, &unfinished)?;
        let name: Name = NAME.parse().map_err(|e: String| anyhow!(e))?;
        let mut manifest = manifest(&name, time);
        for written in streams {
            let node = record.node(&written.node)?;
            let (node, part) = written.part(&present, node.all_chains())?;
            manifest.nodes.insert(node, part);
        }
        failpoint!("suspend.streams");
        sweep::remove_folder(&dir.suspended())?;
        replace_json(&unfinished.join(folder::MANIFEST), &manifest, 0o600)?;
        fs_err::rename(&unfinished, dir.suspended())?;
        folder::sync(dir.path())?;
        failpoint!("suspend.saved");
        replace_json(&dir.restoring(), &Restoration::of_suspended(), 0o600)?;
        failpoint!("suspend.decided");
        lead.step(Step::Quit).await?;
        let ended = lead.done().await;
        ended.context("not all QEMUs of the saved nodes ended")?;
        failpoint!("suspend.ended");
        Ok(Saved {
            name: NAME.to_owned(),
            nodes: manifest.nodes.len(),
            size: manifest.size(),
            paused: stood,
            took: Duration::ZERO,
            removed: Vec::new(),
        })
    }
}

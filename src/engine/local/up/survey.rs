//! What `up` looks at before anything on the host is touched.

use std::time::Instant;

use anyhow::Result;
use kvmc_images::Store;

use super::look::look;
use super::run::Run;
use crate::engine::local::design::{Blueprint, design};
use crate::engine::local::frozen::Wanted as WantedFrozen;
use crate::engine::local::preflight::{self, fail_on};
use crate::engine::local::prepared::unprepared;
use crate::host::{self, Finding, Needs, Room};
use crate::image::{Images, Wanted, check_intact};
use crate::network::Probe;
use crate::plan::{self, Seen, Step};
use crate::state::{ClusterRecord, NodeRecord};
use crate::warm;

/// What was found.
pub(super) struct Survey {
    /// The cluster as it is to be.
    pub(super) record: ClusterRecord,
    /// The images that are there.
    pub(super) found: Images,
    pub(super) seen: Seen,
    /// When `seen` was.
    pub(super) looked: Instant,
    /// Who has its addresses is still being asked.
    pub(super) probe: Option<Probe>,
    /// Machines that are to be frozen, and images that are to be prepared.
    pub(super) missing: Vec<warm::Shape>,
    pub(super) unprepared: Vec<String>,
}

impl Survey {
    /// Whether an image is to be made or prepared, or a machine to be frozen.
    pub(super) fn takes_long(&self, wanted: &Wanted) -> bool {
        [
            wanted.to_make().len(),
            self.missing.len(),
            self.unprepared.len(),
        ] != [0; 3]
    }
}

impl Run<'_> {
    /// Looks at the host, and refuses what cannot come to a good end on it.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub(super) async fn survey(&self) -> Result<Survey> {
        let (local, existing) = (self.local, self.existing);
        let progress = local.progress.as_ref();
        let record = design(Blueprint {
            spec: self.spec.clone(),
            picks: &self.wanted.picks(),
            accelerator: self.accelerator.clone(),
            project: self.project.clone(),
            dir: &self.dir,
            existing,
            links: self.links,
        })
        .await?;
        let found = self.wanted.found();
        check_intact(&local.state, found.ids(), None)?;
        let probe = preflight::check(&record, &self.dir, &found, existing, self.links).await?;
        let looked = Instant::now();
        let seen = look(&record, existing, &self.dir, self.links).await?;
        preflight::check_obstacles(&seen.network.obstacles, existing, progress)?;
        let starting = starting(&record, &plan::up(&record, &seen));
        let (shared, missing, unprepared) = if self.start.cold {
            (0, Vec::new(), Vec::new())
        } else {
            let root = local.state.root();
            let (store, frozen) = (Store::open(root), warm::Store::open(root));
            let wanted = WantedFrozen {
                record: &record,
                existing,
                images: &found,
                dir: &self.dir,
            };
            (
                wanted.shared(&frozen, &starting)?,
                wanted.missing(&frozen)?,
                unprepared(&found, &store, existing)?,
            )
        };
        let memory = host::Memory {
            ram: starting.iter().map(|n| n.ram.0).sum(),
            shared,
            nodes: starting.len() as u64,
            emulated: !record.accelerator.is_kvm(),
            overcommit: self.start.overcommit,
        };
        self.check_room(&record, memory)?;
        Ok(Survey {
            record,
            found,
            seen,
            looked,
            probe: Some(probe),
            missing,
            unprepared,
        })
    }

    fn check_room(&self, record: &ClusterRecord, memory: host::Memory) -> Result<()> {
        const TEMPLATE: u64 = 3 << 30;
        /// An overlay at ready, and what a little work adds.
        const OVERLAY: u64 = 64 << 20;
        let build = self.wanted.must_build();
        let room = Room {
            memory,
            disk: memory.nodes * OVERLAY + if build { TEMPLATE } else { 0 },
        };
        let needs = Needs {
            architecture: record.spec.architecture,
            build,
        };
        let checks = host::run_checks(&needs, room, self.local.state.root())?;
        fail_on(&checks)?;
        for check in &checks {
            if let Finding::Warning { what, cure } = &check.finding {
                self.local.progress.say(&format!("{what}; {cure}"));
            }
        }
        Ok(())
    }
}

/// The nodes that the steps start.
fn starting<'a>(record: &'a ClusterRecord, steps: &[Step]) -> Vec<&'a NodeRecord> {
    let names = steps.iter().filter_map(Step::starts);
    names.filter_map(|name| record.node(name).ok()).collect()
}

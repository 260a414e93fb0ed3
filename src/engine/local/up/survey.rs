//! The checks and looks of `up` before it changes anything on the host.

use std::time::Instant;

use anyhow::Result;
use kvmc_images::Store;

use super::look::look;
use super::run::Run;
use crate::engine::local::design::{Blueprint, design};
use crate::engine::local::frozen::WantedFrozen;
use crate::engine::local::preflight::{self, fail_on};
use crate::engine::local::prepared::unprepared;
use crate::host::{self, Finding, Needs, Room};
use crate::image::{Images, WantedImages, check_intact};
use crate::network::{Probe, pod_collisions};
use crate::plan::{self, Seen, Step};
use crate::state::{ClusterRecord, NodeRecord};
use crate::warm;

/// The result of a survey.
pub(super) struct Survey {
    /// The requested cluster.
    pub(super) record: ClusterRecord,
    /// The images that exist already.
    pub(super) found: Images,
    pub(super) seen: Seen,
    /// When `seen` was read.
    pub(super) looked: Instant,
    /// The question whether another machine has the cluster's addresses, still unanswered.
    pub(super) probe: Option<Probe>,
    /// Machines to freeze, and images to prepare.
    pub(super) missing: Vec<warm::Shape>,
    pub(super) unprepared: Vec<String>,
}

impl Survey {
    /// Whether an image has to be made or prepared, or a machine frozen.
    pub(super) fn takes_long(&self, wanted: &WantedImages) -> bool {
        [
            wanted.to_make().len(),
            self.missing.len(),
            self.unprepared.len(),
        ] != [0; 3]
    }
}

impl Run<'_> {
    /// Looks at the host, and refuses a cluster that cannot work on it.
    ///
    /// # Errors
    /// Fails at an obstacle, with its cure.
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
        let (probe, hidden) = preflight::check(
            &record,
            &self.dir,
            &found,
            existing,
            self.insists,
            self.links,
        )
        .await?;
        for hidden in hidden {
            progress.say(&format!("warning: {hidden}"));
        }
        if existing.is_none() {
            self.say_pods(&record);
        }
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

    /// Kubernetes' plugins have ranges of their own, and pods in the nodes' range reach no node.
    fn say_pods(&self, record: &ClusterRecord) {
        let subnet = record.main().subnet;
        let collisions = pod_collisions(subnet);
        if !collisions.is_empty() {
            self.local.progress.say(&format!(
                "note: {subnet} is in the default range of {}; if you use them, choose another range for the pods or another --subnet (docs/KUBERNETES.md)",
                collisions.join(", ")
            ));
        }
    }

    fn check_room(&self, record: &ClusterRecord, memory: host::Memory) -> Result<()> {
        const TEMPLATE: u64 = 3 << 30;
        /// Disk space of a node's overlay when it is ready, with some for its work.
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
            if let Finding::Warning { what, cure, .. } = &check.finding {
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

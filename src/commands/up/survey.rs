//! What `up` looks at before anything on the host is touched.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use kvmc_images::Store;
use kvmc_netns::Links;

use super::fail_on;
use crate::cli::StartFlags;
use crate::cluster;
use crate::commands::{Scene, firewall};
use crate::host::{self, Finding, Needs, Room};
use crate::image::{Images, Make, Wanted, check_intact};
use crate::model::Accelerator;
use crate::network::Probe;
use crate::output;
use crate::plan::{Seen, Step};
use crate::spec::ClusterSpec;
use crate::state::{ClusterDir, ClusterRecord, NodeRecord};
use crate::warm;

/// One run of `up` or `start`.
pub(super) struct Case<'a> {
    pub(super) scene: &'a Scene,
    pub(super) dir: &'a ClusterDir,
    pub(super) existing: Option<&'a ClusterRecord>,
    pub(super) start: &'a StartFlags,
    pub(super) links: &'a Links,
}

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

impl Case<'_> {
    /// Looks at the host, and refuses what cannot come to a good end on it.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub(super) async fn survey(
        &self,
        wanted: &Wanted,
        spec: ClusterSpec,
        accelerator: &Accelerator,
        project: PathBuf,
    ) -> Result<Survey> {
        let Self {
            scene,
            dir,
            existing,
            start,
            links,
        } = *self;
        let record = cluster::design(
            spec,
            &wanted.picks(),
            accelerator.clone(),
            project,
            dir,
            existing,
            links,
        )
        .await?;
        let found = wanted.found();
        check_intact(&scene.state, found.ids(), None)?;
        let probe = cluster::preflight(&record, dir, &found, existing, links).await?;
        let looked = Instant::now();
        let seen = cluster::look(&record, existing, dir, links).await?;
        firewall::check(&seen.obstacles, existing)?;
        let frozen = warm::Store::open(scene.state.root());
        let starting = starting(&record, &cluster::steps(&record, &seen));
        let (shared, missing, unprepared) = if start.cold {
            (0, Vec::new(), Vec::new())
        } else {
            let store = Store::open(scene.state.root());
            (
                cluster::shared(&frozen, &record, existing, &found, dir, &starting)?,
                cluster::missing(&frozen, &record, existing, &found)?,
                cluster::unprepared(&found, &store, existing)?,
            )
        };
        let memory = host::Memory {
            ram: starting.iter().map(|n| n.ram.0).sum(),
            shared,
            nodes: starting.len() as u64,
            emulated: !record.accelerator.is_kvm(),
            overcommit: start.overcommit,
        };
        check_room(scene, &record, memory, must_build(wanted))?;
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
}

/// Whether a template is to be built.
pub(super) fn must_build(wanted: &Wanted) -> bool {
    (wanted.to_make().iter()).any(|m| matches!(m, Make::Build(_)))
}

/// The nodes that the steps start.
fn starting<'a>(record: &'a ClusterRecord, steps: &[Step]) -> Vec<&'a NodeRecord> {
    let node = |step: &Step| match step {
        Step::StartNode { node } => record.node(node).ok(),
        _ => None,
    };
    steps.iter().filter_map(node).collect()
}

fn check_room(
    scene: &Scene,
    record: &ClusterRecord,
    memory: host::Memory,
    build: bool,
) -> Result<()> {
    const TEMPLATE: u64 = 3 << 30;
    /// An overlay at ready, and what a little work adds.
    const OVERLAY: u64 = 64 << 20;
    let room = Room {
        memory,
        disk: memory.nodes * OVERLAY + if build { TEMPLATE } else { 0 },
    };
    let needs = Needs {
        architecture: record.spec.architecture,
        build,
    };
    let checks = host::run_checks(&needs, room, scene.state.root())?;
    fail_on(&checks)?;
    for check in &checks {
        if let Finding::Warning { what, cure } = &check.finding {
            output::talk(&format!("{what}; {cure}"));
        }
    }
    Ok(())
}

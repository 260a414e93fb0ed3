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
use crate::engine::local::snapshot::having;
use crate::host::{self, Finding, Needs, Room};
use crate::image::{Images, WantedImages, check_intact};
use crate::model::{Effect, NodeChange, PlanReport, SCHEMA, spoils};
use crate::network::{Probe, pod_collisions};
use crate::plan::{self, Seen, Step};
use crate::spec::Key;
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
        let mut record = design(Blueprint {
            spec: self.spec.clone(),
            picks: &self.wanted.picks(),
            accelerator: self.accelerator.clone(),
            project: self.project.clone(),
            dir: &self.dir,
            existing,
            links: self.links,
        })
        .await?;
        self.choose(&mut record, existing);
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
        let starting = starting(&record, &plan::up(&record, &seen, &self.start.scope));
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
            ram: starting.iter().map(|n| n.ram.0).sum::<u64>()
                + grown(&record, existing, &starting),
            shared,
            nodes: starting.len() as u64,
            emulated: !record.accelerator.is_kvm(),
            overcommit: self.start.overcommit,
        };
        let extra = starting.iter().map(|n| n.disks.len() as u64).sum();
        self.check_room(&record, memory, extra)?;
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

    /// The plan in words. `source` tells where a requested value came from.
    pub(super) fn told(
        &self,
        survey: &Survey,
        source: impl Fn(&Key) -> Option<String>,
    ) -> PlanReport {
        let Survey { record, seen, .. } = survey;
        let make = self.wanted.to_make();
        let make = make.iter().map(ToString::to_string);
        let unprepared = survey.unprepared.iter();
        let prepare = unprepared.map(|n| format!("prepare the image {n}"));
        let shapes = survey.missing.iter();
        let freeze = shapes.map(|shape| format!("freeze a machine of {shape}"));
        let steps = plan::up(record, seen, &self.start.scope);
        let rest = steps.iter().map(ToString::to_string);
        let before = self.existing.map(|r| &r.spec);
        PlanReport {
            schema: SCHEMA,
            cluster: record.spec.name.clone(),
            is_new: self.existing.is_none(),
            settings: before.map_or_else(Vec::new, |before| {
                plan::setting_changes(before, &record.spec, source)
            }),
            nodes: self.with_snapshots(plan::node_changes(record, self.existing, seen, &steps)),
            steps: make.chain(prepare).chain(freeze).chain(rest).collect(),
        }
    }

    /// Adds what becomes of snapshots to nodes that are removed.
    fn with_snapshots(&self, mut changes: Vec<NodeChange>) -> Vec<NodeChange> {
        for change in &mut changes {
            if change.effects.contains(&Effect::RemovesNode) {
                let snapshots = having(&self.dir, std::slice::from_ref(&change.node));
                change.what.push_str(&spoils(&snapshots, "; "));
            }
        }
        changes
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

    fn check_room(&self, record: &ClusterRecord, memory: host::Memory, extra: u64) -> Result<()> {
        const TEMPLATE: u64 = 3 << 30;
        /// Disk space of a node's overlay when it is ready, with some for its work.
        const OVERLAY: u64 = 64 << 20;
        /// Disk space of an extra disk with a fresh file system.
        const EXTRA: u64 = 16 << 20;
        let build = self.wanted.must_build();
        let room = Room {
            memory,
            disk: memory.nodes * OVERLAY + extra * EXTRA + if build { TEMPLATE } else { 0 },
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

/// Bytes of RAM that running nodes get at their next start, in addition to what they have.
fn grown(
    record: &ClusterRecord,
    existing: Option<&ClusterRecord>,
    starting: &[&NodeRecord],
) -> u64 {
    let nodes = record.nodes.iter();
    let running = nodes.filter(|n| starting.iter().all(|s| s.name != n.name));
    let more = running.filter_map(|node| {
        let before = existing?.node(&node.name).ok()?.ram.0;
        Some(node.ram.0.saturating_sub(before))
    });
    more.sum()
}

/// The nodes that the steps start.
fn starting<'a>(record: &'a ClusterRecord, steps: &[Step]) -> Vec<&'a NodeRecord> {
    let names = steps.iter().filter_map(Step::starts);
    names.filter_map(|name| record.node(name).ok()).collect()
}

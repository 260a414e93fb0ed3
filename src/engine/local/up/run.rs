//! One run of `up` or `start`, and its input.

use std::path::PathBuf;

use anyhow::Result;
use kvmc_images::Store;
use kvmc_netns::Links;

use super::changes::check_removal;
use super::saved;
use crate::engine::StartOptions;
use crate::engine::local::Local;
use crate::engine::local::preflight::fail_on;
use crate::hint::WithHint;
use crate::host::{self, Needs, choose};
use crate::image::{PullOptions, WantedImages, check_cluster_intact};
use crate::interrupt::Interrupt;
use crate::model::{Accelerator, Interrupted};
use crate::network::{Probe, check_namespace};
use crate::node::read_user_data;
use crate::project;
use crate::spec::ClusterSpec;
use crate::state::{ClusterDir, ClusterRecord};

/// The closing words of a verb that changed nothing.
pub(super) const UNCHANGED: &str = "the cluster is unchanged";

/// A requested cluster.
pub(in crate::engine::local) struct Target {
    pub(in crate::engine::local) spec: ClusterSpec,
    /// The range was named by somebody.
    pub(in crate::engine::local) insists: bool,
    /// The folder for the files of Ansible and ssh.
    pub(in crate::engine::local) project: PathBuf,
    pub(in crate::engine::local) pull: PullOptions,
    pub(in crate::engine::local) start: StartOptions,
    /// The verb, as the cluster's lock names it.
    pub(in crate::engine::local) verb: &'static str,
    /// The fingerprint of the record that a saved plan was made for; `None` in it for no record.
    pub(in crate::engine::local) expects: Option<Option<String>>,
}

/// One run of `up` or `start`, with everything known before a look at the host's network.
pub(super) struct Run<'a> {
    pub(super) local: &'a Local,
    pub(super) dir: ClusterDir,
    pub(super) links: &'a Links,
    pub(super) existing: Option<&'a ClusterRecord>,
    pub(super) spec: ClusterSpec,
    pub(super) insists: bool,
    pub(super) project: PathBuf,
    pub(super) start: StartOptions,
    pub(super) verb: &'static str,
    pub(super) expects: Option<Option<String>>,
    pub(super) wanted: WantedImages,
    /// User data by role, of the roles that are new.
    pub(super) user_data: Vec<(String, String)>,
    pub(super) accelerator: Accelerator,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        local: &'a Local,
        links: &'a Links,
        target: Target,
        existing: Option<&'a ClusterRecord>,
        may_write: bool,
    ) -> Result<Self> {
        let Target {
            spec,
            insists,
            project,
            pull,
            start,
            verb,
            expects,
        } = target;
        check_removal(&local.dir(), existing, &spec, &start.consent)?;
        saved::check_expected(expects.as_ref(), existing)?;
        if let Some(record) = existing {
            check_namespace(record)?;
            check_cluster_intact(&local.state, record)?;
        }
        let project = project::place(spec.files.folder(), existing, project);
        if existing.is_none_or(|r| r.project != project) {
            project::check(&project, &spec.name)?;
        }
        let store = Store::open(local.state.root());
        let wanted = WantedImages::look(&spec, existing, &store, pull).hint(|| {
            let (down, up) = (local.command("down"), local.command("up"));
            format!("{down} removes the nodes with their data, {up} makes new ones")
        })?;
        let mut user_data = Vec::new();
        let is_new = |name: &str| existing.is_none_or(|r| r.spec.role(name).is_none());
        for role in spec.roles.iter().filter(|role| is_new(&role.name)) {
            if let Some(path) = &role.user_data {
                user_data.push((role.name.clone(), read_user_data(path)?));
            }
        }
        fail_on(&host::basics(&Needs {
            architecture: spec.architecture,
            build: wanted.must_build(),
        }))?;
        let accelerator = choose(&local.state, spec.accel, spec.architecture, may_write)?;
        Ok(Self {
            local,
            dir: local.dir(),
            links,
            existing,
            project,
            spec,
            insists,
            start,
            verb,
            expects,
            wanted,
            user_data,
            accelerator,
        })
    }

    pub(super) const fn dir(&self) -> &ClusterDir {
        &self.dir
    }

    pub(super) async fn refuse_taken(&self, probe: &mut Option<Probe>) -> Result<()> {
        match probe.take() {
            Some(probe) => probe.refuse_taken(&self.dir, self.links).await,
            None => Ok(()),
        }
    }
}

/// Runs `work` until it is done or a signal comes. `now` describes the state that an interruption leaves.
pub(super) async fn unless_interrupted<T>(
    interrupt: &mut Interrupt,
    now: &str,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    tokio::select! {
        done = work => Ok(done),
        () = interrupt.wait() => Err(Interrupted(now.to_owned())),
    }
}

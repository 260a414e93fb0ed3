//! The engine that runs nodes on this host, straight on QEMU.

mod at_boot;
mod boot;
mod build;
mod cluster;
mod clusters;
mod counted;
mod cpus;
mod design;
mod disk_usage;
mod doctor;
mod down;
mod events;
mod faults;
mod forwards;
mod frozen;
mod images;
mod known_names;
mod preflight;
mod prepared;
mod reach;
mod remains;
mod removal;
mod size;
mod snapshot;
mod status;
mod stop;
mod support;
mod top;
mod up;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

#[cfg(test)]
pub(crate) use self::boot::last_event;
pub(crate) use self::build::{BuildRequest, BuildSource};
pub(crate) use self::cluster::Local;
pub(crate) use self::images::{ImportRequest, PullRequest, catalogue};
pub(crate) use self::reach::FollowedLog;
pub(crate) use self::snapshot::{SaveRequest, Standing, Undone};
pub(crate) use self::support::SupportParts;
pub(crate) use self::top::Watch;
use super::{
    Console, CopyRequest, Engine, ExecRequest, Forwarding, Lifecycle, LogRequest, Reach, Size,
    StartOptions, SyncRequest, TieRequest, UpRequest,
};
use crate::image::PullOptions;
use crate::model::{
    ClusterStatus, CopyReport, DownReport, ExecOutput, ExecReport, ForwardReport, LogOutput,
    NodeAddresses, PlanReport, StopReport, SyncReport, TieKind, TieReport, TieStatus, UpReport,
};
use crate::network::check_namespace;
use crate::project::{self, Inventory};
use crate::spec::{Forward, Layer};

#[async_trait(?Send)]
impl Lifecycle for Local {
    fn made_of(&self) -> Result<Option<Layer>> {
        Ok(self.load()?.map(|record| record.spec.layer()))
    }

    async fn plan(&self, request: UpRequest, out: Option<&Path>) -> Result<PlanReport> {
        up::plan(self, request, out).await
    }

    async fn carry_out(
        &self,
        plan: &Path,
        pull: PullOptions,
        options: StartOptions,
    ) -> Result<UpReport> {
        up::carry_out_plan(self, plan, pull, options).await
    }

    async fn up(&self, request: UpRequest) -> Result<UpReport> {
        up::up(self, request).await
    }

    async fn start(&self, nodes: &[String], options: StartOptions) -> Result<UpReport> {
        up::start(self, nodes, options).await
    }

    async fn stop(&self, nodes: &[String], patience: Duration) -> Result<StopReport> {
        stop::stop(self, nodes, patience).await
    }

    async fn down(&self) -> Result<DownReport> {
        down::down(self).await
    }

    async fn status(&self) -> Result<ClusterStatus> {
        status::status(self).await
    }
}

#[async_trait(?Send)]
impl Size for Local {
    async fn scale(&self, counts: &[(String, String)], options: StartOptions) -> Result<UpReport> {
        size::scale(self, counts, options).await
    }

    async fn remove(&self, nodes: &[String], options: StartOptions) -> Result<UpReport> {
        size::remove(self, nodes, options).await
    }
}

#[async_trait(?Send)]
impl Reach for Local {
    fn ssh_config(&self, node: &str) -> Result<PathBuf> {
        let record = self.require()?;
        record.node(node)?;
        check_namespace(&record)?;
        Ok(self.dir().artifact("ssh_config"))
    }

    fn begin_session(&self, node: &str) -> Result<()> {
        reach::register_session(self, node)
    }

    fn addresses(&self, targets: &[String]) -> Result<Vec<NodeAddresses>> {
        reach::addresses(self, targets)
    }

    async fn exec(&self, request: &ExecRequest, output: &dyn ExecOutput) -> Result<ExecReport> {
        reach::exec(self, request, output).await
    }

    async fn copy(&self, request: &CopyRequest) -> Result<CopyReport> {
        reach::copy(self, request).await
    }

    async fn sync(&self, request: &SyncRequest) -> Result<SyncReport> {
        reach::sync(self, request).await
    }

    async fn tie(&self, request: &TieRequest) -> Result<TieReport> {
        reach::tie(self, request).await
    }

    async fn untie(&self, kind: TieKind, what: &str) -> Result<TieStatus> {
        reach::untie(self, kind, what).await
    }

    fn include_ssh_config(&self, wanted: bool) -> Result<(PathBuf, bool)> {
        reach::include(self, wanted)
    }

    fn console_history(&self, node: &str) -> Result<Vec<u8>> {
        reach::history(self, node)
    }

    async fn console(&self, node: &str) -> Result<Console> {
        reach::console(self, node).await
    }

    async fn logs(&self, request: &LogRequest, output: &dyn LogOutput) -> Result<bool> {
        reach::logs(self, request, output).await
    }

    fn inventory(&self) -> Result<Inventory> {
        project::inventory(&self.require()?, &self.dir())
    }

    fn inventory_file(&self) -> Result<PathBuf> {
        check_namespace(&self.require()?)?;
        Ok(self.dir().artifact("inventory"))
    }
}

#[async_trait(?Send)]
impl Forwarding for Local {
    fn forwards(&self) -> Result<Vec<ForwardReport>> {
        Ok(forwards::list(&self.require()?))
    }

    async fn add_forwards(&self, wanted: &[Forward]) -> Result<Vec<ForwardReport>> {
        forwards::add(self, wanted).await
    }

    async fn remove_forwards(&self, names: &[String]) -> Result<()> {
        forwards::remove(self, names).await
    }
}

impl Local {
    /// Serves a tie of the cluster; see [`reach::attend`].
    ///
    /// # Errors
    /// Fails if the tie cannot be made.
    pub(crate) async fn attend(&self, file: &str, ready: &mut dyn FnMut()) -> Result<()> {
        reach::attend(self, file, ready).await
    }
}

impl Engine for Local {
    fn forwarding(&self) -> Option<&dyn Forwarding> {
        Some(self)
    }
}

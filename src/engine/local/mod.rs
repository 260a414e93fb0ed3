//! The engine that runs nodes on this host, straight on QEMU.

mod at_boot;
mod boot;
mod build;
mod cluster;
mod design;
mod doctor;
mod down;
mod forwards;
mod frozen;
mod images;
mod preflight;
mod prepared;
mod remains;
mod removal;
mod status;
mod stop;
mod up;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

#[cfg(test)]
pub(crate) use self::boot::last_event;
pub(crate) use self::build::{BuildRequest, BuildSource};
pub(crate) use self::cluster::Local;
pub(crate) use self::images::{ImportRequest, PullRequest, catalogue};
use super::{Engine, Forwarding, Lifecycle, Reach, StartOptions, UpRequest};
use crate::model::{ClusterStatus, DownReport, ForwardReport, PlanReport, StopReport, UpReport};
use crate::network::check_namespace;
use crate::spec::{Forward, Layer};

#[async_trait(?Send)]
impl Lifecycle for Local {
    fn made_of(&self) -> Result<Option<Layer>> {
        Ok(self.load()?.map(|record| record.spec.layer()))
    }

    async fn plan(&self, request: UpRequest) -> Result<PlanReport> {
        up::plan(self, request).await
    }

    async fn up(&self, request: UpRequest) -> Result<UpReport> {
        up::up(self, request).await
    }

    async fn start(&self, options: StartOptions) -> Result<UpReport> {
        up::start(self, options).await
    }

    async fn stop(&self, patience: Duration) -> Result<StopReport> {
        stop::stop(self, patience).await
    }

    async fn down(&self) -> Result<DownReport> {
        down::down(self).await
    }

    async fn status(&self) -> Result<ClusterStatus> {
        status::status(self).await
    }
}

impl Reach for Local {
    fn ssh_config(&self, node: &str) -> Result<PathBuf> {
        let record = self.require()?;
        record.node(node)?;
        check_namespace(&record)?;
        Ok(self.dir().artifact("ssh_config"))
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

impl Engine for Local {
    fn forwarding(&self) -> Option<&dyn Forwarding> {
        Some(self)
    }
}

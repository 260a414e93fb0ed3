//! Grows the disk of a running node: QEMU's part, and then that of the guest's agent.

use anyhow::{Context, Result, bail};
use kvmc_images::agent::{Identity, Info, InfoAnswer, Request as _};
use kvmc_qmp::Client;

use super::guest::{AGENT, IdentityOf};
use super::served::Served;
use super::vitals;
use crate::node::{savestate, tops};
use crate::state::ClusterRecord;

impl Served {
    /// Grows a node's disk to its recorded size. The agent grows partition and file system where it is told the
    /// node's identity again, as it is after each boot.
    pub(super) async fn grow(&self, name: &str) -> Result<()> {
        let record = ClusterRecord::load(&self.dir)?.context("the cluster has no record")?;
        let node = record.node(name)?;
        let connections = self.connections(name)?;
        let qmp = connections.qmp.context("QMP is not connected")?;
        let size = node.disk.0;
        let top = tops(&qmp).await?.into_iter().next();
        let top = top.context("QEMU does not know the node's disk")?;
        savestate::resize(&qmp, &[(top, size)]).await?;
        if node.seeded {
            // It has no agent. Its cloud-init grows the root at each boot.
            return Ok(());
        }
        let agent = connections.agent;
        let agent = agent.context(
            "its disk has grown, but its agent is not connected, which would grow the file system",
        )?;
        let before = root(&agent).await?;
        let networks: Vec<_> = record.nics(node).map(|(n, _)| n.clone()).collect();
        let of = IdentityOf {
            domain: &record.spec.domain(),
            dir: &self.dir,
            node,
            networks: &networks,
        };
        let arguments = of.push(false)?.arguments();
        agent
            .request_secret(Identity::NAME, arguments, AGENT)
            .await?;
        tokio::spawn(vitals::correct_clock(agent.clone()));
        let after = root(&agent).await?;
        // The file system's own tables take some of a disk, and partitions for boot some more.
        if after <= before && after < size / 100 * 85 {
            bail!(
                "its disk has {} MiB, but the root file system in the guest still has {} MiB",
                size >> 20,
                after >> 20
            );
        }
        Ok(())
    }
}

/// Bytes of the guest's root file system.
async fn root(agent: &Client) -> Result<u64> {
    let answer = agent
        .request(Info::NAME, Info {}.arguments(), AGENT)
        .await?;
    let answer: InfoAnswer =
        serde_json::from_value(answer).context("the agent's answer to info")?;
    Ok(answer.disk.unwrap_or(0))
}

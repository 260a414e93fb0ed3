//! A network's bridge.

use std::fmt;

use anyhow::{Error, Result};
use kvmc_netns::Links;

use super::Undo;
use super::bench::{Host, Workbench};
use crate::failpoint::failpoint;
use crate::network;
use crate::state::NetworkRecord;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) network: NetworkRecord,
    /// The keeper runs, and has port 53 of the bridge's addresses.
    pub(crate) is_served: bool,
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetworkRecord {
            bridge,
            gateway,
            subnet,
            ..
        } = &self.network;
        write!(
            f,
            "create the bridge {bridge} with {gateway}/{}",
            subnet.prefix()
        )
    }
}

impl Bridge {
    pub(super) async fn make(&self, bench: Workbench<'_>, undo: &mut Undo) -> Result<()> {
        let name = &self.network.bridge;
        let links = bench.host.links.clone();
        undo.push(format!("the bridge {name}"), {
            let network = self.network.clone();
            move || async move { network::bridge::remove(&network, &links).await }
        });
        let links = Links::open()?;
        if self.is_served {
            network::bridge::make(&self.network, bench.host.dir, &links).await?;
        } else {
            network::bridge::prepare(&self.network, bench.host.dir, &links).await?;
        }
        failpoint!("up.bridge");
        Ok(())
    }

    pub(super) async fn remove(&self, host: Host<'_>) -> Vec<Error> {
        let removed = network::bridge::remove(&self.network, host.links).await;
        let name = &self.network.bridge;
        let error = removed.err();
        let error = error.map(|e| e.context(format!("cannot remove the bridge {name}")));
        error.into_iter().collect()
    }
}

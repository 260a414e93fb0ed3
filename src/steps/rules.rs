//! A network's own nft table.

use std::fmt;

use anyhow::{Error, Result};
use kvmc_netns::firewall;

use super::Undo;
use super::bench::Host;
use crate::failpoint::failpoint;
use crate::network;
use crate::state::NetworkRecord;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub(crate) network: NetworkRecord,
    pub(crate) table: firewall::Table,
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apply the nft table inet {}", self.table.name)
    }
}

impl Rules {
    pub(super) fn make(&self, undo: &mut Undo) -> Result<()> {
        undo.push("the NAT rules", {
            let table = self.table.clone();
            move || async move { Ok(table.remove().map(drop)?) }
        });
        self.table.apply()?;
        failpoint!("up.nat");
        Ok(())
    }

    pub(super) async fn remove(&self, host: Host<'_>) -> Vec<Error> {
        let mut errors = Vec::new();
        match host.links.find(&self.network.bridge).await {
            // Another program has taken the table's name since this cluster stopped, so the rules are not ours.
            Ok(Some(link)) if link.mac != Some(self.network.mac) => return errors,
            Ok(_) => {}
            Err(e) => errors.push(e.into()),
        }
        errors.extend(network::rules::remove(&self.table).err());
        errors
    }
}

//! What a cluster adds to other programs' firewalls: written down first, made, removed.

use anyhow::{Context, Result};
use kvmc_netns::Links;
use kvmc_netns::firewall::{self, Accept};
use serde::{Deserialize, Serialize};

use crate::state::{ClusterDir, ClusterRecord, read_json, remove_file, replace_json};

/// `firewall.json`: beside the record, for the keeper writes it while a verb may hold that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// What was added to others' rules, written down before it was made.
    pub(crate) accepts: Vec<Accept>,
    /// What was lost while the cluster ran, and put back, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restored: Option<Restored>,
}

/// Rules that others took away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// In seconds since 1970.
    pub(crate) time: u64,
    /// How often until now.
    pub(crate) times: u64,
    pub(crate) what: Vec<String>,
}

impl Made {
    pub(crate) fn load(dir: &ClusterDir) -> Result<Self> {
        Ok(read_json(&dir.firewall())?.unwrap_or_default())
    }

    pub(super) fn save(&self, dir: &ClusterDir) -> Result<()> {
        replace_json(&dir.firewall(), self, 0o600)
    }
}

/// Adds to others' rules, and remembers it first.
///
/// # Errors
/// The state folder's, or the tool's, with its words.
pub(crate) fn make(record: &ClusterRecord, dir: &ClusterDir, accept: &Accept) -> Result<()> {
    let mut made = Made::load(dir)?;
    if !made.accepts.contains(accept) {
        made.accepts.push(accept.clone());
        made.save(dir)?;
    }
    accept
        .make(&firewall::mark(&record.spec.name))
        .with_context(|| format!("failed to add to {accept}"))
}

/// Takes all back that was added to others' rules; what is gone already is done. Goes on past errors and
/// returns them.
pub(crate) fn remove(dir: &ClusterDir) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    let mark = firewall::mark(&dir.name());
    if let Err(e) = firewall::withdraw(&mark) {
        errors.push(anyhow::Error::from(e).context("failed to take rules out of iptables"));
    }
    match Made::load(dir) {
        Ok(made) => {
            for accept in &made.accepts {
                if let Err(e) = accept.unmake() {
                    errors
                        .push(anyhow::Error::from(e).context(format!("failed to leave {accept}")));
                }
            }
        }
        Err(e) => errors.push(e),
    }
    if errors.is_empty() {
        errors.extend(remove_file(&dir.firewall()).err());
    }
    errors
}

/// Removes rules that carry the name of a cluster which is not recorded and whose bridge is gone. Returns
/// what it was.
///
/// # Errors
/// When rules cannot be read or removed.
pub(crate) async fn remove_leftovers(cluster: &str, links: &Links) -> Result<Vec<String>> {
    let names: Vec<_> = links.list().await?.into_iter().map(|l| l.name).collect();
    Ok(firewall::remove_leftovers(
        &firewall::mark(cluster),
        &names,
    )?)
}

//! Rules that a cluster adds to other programs' firewalls. They are recorded before they are made.

use anyhow::{Context, Result};
use kvmc_netns::Links;
use kvmc_netns::firewall::{self, Accept};
use serde::{Deserialize, Serialize};

use crate::state::{ClusterDir, ClusterRecord, read_json, remove_file, replace_json};

/// `firewall.json`. It is apart from the record, because the keeper writes it while a verb may hold the record's lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirewallLog {
    /// Rules added to other programs' firewalls, recorded before they were made.
    pub(crate) accepts: Vec<Accept>,
    /// The last repair of rules that were lost while the cluster ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restored: Option<Restored>,
}

/// Rules that another program removed and the keeper restored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restored {
    /// Time of the last repair, in seconds since 1970.
    pub(crate) time: u64,
    /// Number of repairs so far.
    pub(crate) times: u64,
    pub(crate) what: Vec<String>,
}

impl FirewallLog {
    pub(crate) fn load(dir: &ClusterDir) -> Result<Self> {
        Ok(read_json(&dir.firewall())?.unwrap_or_default())
    }

    pub(super) fn save(&self, dir: &ClusterDir) -> Result<()> {
        replace_json(&dir.firewall(), self, 0o600)
    }
}

/// The rules in one place of another program's firewall.
pub(super) fn words(accept: &Accept) -> String {
    format!("rules in {accept}")
}

/// The zones of firewalld that a cluster's links were added to, in words.
///
/// # Errors
/// Fails if the log cannot be read.
pub(super) fn zones(dir: &ClusterDir) -> Result<Vec<String>> {
    let made = FirewallLog::load(dir)?.accepts;
    let zones = made.iter().filter(|a| matches!(a, Accept::Zone { .. }));
    Ok(zones.map(words).collect())
}

/// Records a rule and then adds it to another program's firewall.
///
/// # Errors
/// Fails if the state folder cannot be written, or with the words of the firewall's tool.
pub(crate) fn make(record: &ClusterRecord, dir: &ClusterDir, accept: &Accept) -> Result<()> {
    let mut made = FirewallLog::load(dir)?;
    if !made.accepts.contains(accept) {
        made.accepts.push(accept.clone());
        made.save(dir)?;
    }
    accept
        .make(&firewall::mark(&record.spec.name))
        .with_context(|| format!("cannot add a rule to {accept}"))
}

/// Removes all rules that were added to other programs' firewalls, and accepts that some are removed already.
/// Continues past errors and returns them.
pub(crate) fn remove(dir: &ClusterDir) -> Vec<anyhow::Error> {
    let mut errors = Vec::new();
    let mark = firewall::mark(&dir.name());
    if let Err(e) = firewall::withdraw(&mark) {
        errors.push(anyhow::Error::from(e).context("cannot remove rules from iptables"));
    }
    match FirewallLog::load(dir) {
        Ok(made) => {
            for accept in &made.accepts {
                if let Err(e) = accept.unmake() {
                    errors.push(
                        anyhow::Error::from(e)
                            .context(format!("cannot remove rules from {accept}")),
                    );
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

/// Removes rules that name a cluster which has no record and no bridge. Returns the removed rules in words.
///
/// # Errors
/// Fails if rules cannot be read or removed.
pub(crate) async fn remove_leftovers(cluster: &str, links: &Links) -> Result<Vec<String>> {
    let names: Vec<_> = links.list().await?.into_iter().map(|l| l.name).collect();
    Ok(firewall::remove_leftovers(
        &firewall::mark(cluster),
        &names,
    )?)
}

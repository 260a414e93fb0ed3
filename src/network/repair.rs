//! Restores what other programs remove while the cluster runs. The nodes do not notice.

use anyhow::Result;

use super::accepts::{self, FirewallLog, Restored};
use super::forwarding::{self, Family};
use super::{NetworkState, rules};
use crate::ids::now;
use crate::state::{ClusterDir, ClusterRecord};

/// What a repair did, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Repair {
    /// What another program had removed.
    pub(crate) restored: Vec<String>,
    /// Rules in chains that had none of this cluster before, as in those of a firewall that was started later.
    pub(crate) added: Vec<String>,
}

impl Repair {
    pub(crate) const fn is_empty(&self) -> bool {
        self.restored.is_empty() && self.added.is_empty()
    }

    /// Sorts what `seen` lacks by whether it was made before.
    fn of(seen: &NetworkState, made: &FirewallLog) -> Self {
        let before: Vec<_> = made.accepts.iter().map(accepts::words).collect();
        let added = seen.accepts.iter().map(accepts::words);
        let added: Vec<_> = added.filter(|a| !before.contains(a)).collect();
        let missing = seen.missing().into_iter();
        Self {
            restored: missing.filter(|what| !added.contains(what)).collect(),
            added,
        }
    }
}

/// Restores what `seen` lacks.
///
/// # Errors
/// Fails if something cannot be restored.
pub(crate) fn restore(
    record: &ClusterRecord,
    dir: &ClusterDir,
    seen: &NetworkState,
) -> Result<Repair> {
    let repair = Repair::of(seen, &FirewallLog::load(dir)?);
    if repair.is_empty() {
        return Ok(repair);
    }
    for network in record.networks() {
        if seen.lost_tables.contains(&network.table) {
            rules::table(record, network).apply()?;
        }
    }
    for accept in &seen.accepts {
        accepts::make(record, dir, accept)?;
    }
    if !seen.forwarding {
        forwarding::enable(&dir.state(), Family::V4)?;
    }
    if !seen.forwarding6 {
        forwarding::enable(&dir.state(), Family::V6)?;
    }
    if repair.restored.is_empty() {
        return Ok(repair);
    }
    let mut made = FirewallLog::load(dir)?;
    let times = made.restored.map_or(0, |r| r.times);
    made.restored = Some(Restored {
        time: now() as u64,
        times: times + 1,
        what: repair.restored.clone(),
    });
    made.save(dir)?;
    Ok(repair)
}

#[cfg(test)]
mod tests {
    use kvmc_netns::firewall::Accept;

    use super::*;

    #[test]
    fn a_rule_in_a_new_chain_was_taken_away_by_nobody() {
        let accept = |zone: &str| Accept::Zone {
            zone: zone.to_owned(),
            bridge: "k80".to_owned(),
        };
        let seen = NetworkState {
            forwarding6: true,
            accepts: vec![accept("trusted"), accept("new")],
            ..NetworkState::default()
        };
        let made = FirewallLog {
            accepts: vec![accept("trusted")],
            restored: None,
        };
        let repair = Repair::of(&seen, &made);
        assert_eq!(repair.added, [accepts::words(&accept("new"))]);
        let restored = [
            accepts::words(&accept("trusted")),
            "net.ipv4.ip_forward".to_owned(),
        ];
        assert_eq!(repair.restored, restored);
    }
}

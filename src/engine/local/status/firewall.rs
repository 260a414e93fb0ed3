//! The firewall part of `status`.

use kvmc_netns::Links;

use crate::model::{FirewallStatus, RestoredStatus};
use crate::network::accepts::FirewallLog;
use crate::network::{self, NetworkState, RulesReading, check_namespace};
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// The state of a cluster's networks, or `None` if it is stopped or if this user may not read the rules.
pub(super) async fn look(
    record: &ClusterRecord,
    links: &Links,
    rules: RulesReading,
) -> Option<NetworkState> {
    if record.phase == Phase::Stopped || check_namespace(record).is_err() {
        return None;
    }
    network::look_at(record, links, rules).await.ok()
}

/// The firewall status for the user.
pub(super) fn view(seen: &NetworkState, dir: &ClusterDir) -> FirewallStatus {
    let made = FirewallLog::load(dir).unwrap_or_default();
    FirewallStatus {
        missing: seen.missing(),
        obstacles: seen.obstacles.iter().map(ToString::to_string).collect(),
        among_others: made.accepts.iter().map(ToString::to_string).collect(),
        restored: made.restored.map(|restored| RestoredStatus {
            time: restored.time,
            times: restored.times,
            what: restored.what,
        }),
    }
}

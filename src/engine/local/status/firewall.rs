//! The firewall part of `status`.

use std::time::Duration;

use anyhow::Result;
use kvmc_netns::Links;

use crate::engine::local::Local;
use crate::keeper::Keeper;
use crate::model::{FirewallStatus, RestoredStatus};
use crate::network::accepts::FirewallLog;
use crate::network::{self, NetworkState, RulesMark, check_namespace};
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// Longest wait for the keeper's answer. Without it this program reads the rules itself.
const ANSWER: Duration = Duration::from_millis(300);

/// The state of a cluster's networks, or `None` if it is stopped or if this user may not read the rules.
///
/// The keeper reads the rules after each change. While the rules are those that it found in order, nft is not run again:
/// it takes half of the time that `status` takes.
pub(super) async fn look(
    local: &Local,
    record: &ClusterRecord,
    links: &Links,
) -> Option<NetworkState> {
    if record.phase == Phase::Stopped || check_namespace(record).is_err() {
        return None;
    }
    let keeper = Keeper::of(&local.dir(), &local.cluster);
    let in_order = tokio::time::timeout(ANSWER, keeper.rules_in_order());
    let (in_order, now) = tokio::join!(in_order, RulesMark::read(record, links));
    let in_order = in_order.ok().and_then(Result::ok).flatten();
    if in_order.is_some() && in_order == now.ok() {
        return NetworkState::in_order(record, links).await.ok();
    }
    network::look(record, links).await.ok()
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

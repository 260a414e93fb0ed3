//! The firewall rules of a cluster, as `status` tells of them.

use kvmc_netns::Links;

use crate::model::{FirewallStatus, RestoredStatus};
use crate::network::accepts::Made;
use crate::network::{self, NetworkState, check_namespace};
use crate::state::{ClusterDir, ClusterRecord, Phase};

/// The network of a cluster, as it is; none of one that has none now, or when rules cannot be seen,
/// as by an ordinary user.
pub(super) async fn look(record: &ClusterRecord, links: &Links) -> Option<NetworkState> {
    if record.phase == Phase::Stopped || check_namespace(record).is_err() {
        return None;
    }
    network::look(record, links).await.ok()
}

/// What there is to say of them.
pub(super) fn view(seen: &NetworkState, dir: &ClusterDir) -> FirewallStatus {
    let made = Made::load(dir).unwrap_or_default();
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

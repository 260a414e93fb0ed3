//! Which nodes a verb starts.

use std::collections::BTreeSet;

use crate::state::ClusterRecord;

/// The nodes that run after a verb.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    All,
    /// Those that the verb adds, and those of an earlier one that was cut short.
    New,
    Nodes(BTreeSet<String>),
    /// All but those that were stopped by name.
    Wanted,
}

impl Scope {
    /// Whether a node is to run. `stopped` are wanted stopped, `begun` run or ended by themselves.
    pub(super) fn takes(
        &self,
        node: &str,
        stopped: &BTreeSet<String>,
        begun: &BTreeSet<String>,
    ) -> bool {
        match self {
            Self::All => true,
            Self::New => !begun.contains(node) && !stopped.contains(node),
            Self::Nodes(names) => names.contains(node),
            Self::Wanted => !stopped.contains(node),
        }
    }

    /// Changes which nodes are wanted stopped. `was_stopped`: the whole cluster was.
    pub(crate) fn apply(&self, record: &mut ClusterRecord, was_stopped: bool) {
        match self {
            Self::All => record.stopped.clear(),
            Self::New | Self::Wanted => {}
            Self::Nodes(names) if was_stopped => {
                let all = record.nodes.iter().map(|n| n.name.clone());
                record.stopped = all.filter(|n| !names.contains(n)).collect();
            }
            Self::Nodes(names) => record.stopped.retain(|n| !names.contains(n)),
        }
    }
}

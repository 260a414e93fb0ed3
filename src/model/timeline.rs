//! The stages of the last start of a cluster's nodes, which `kvmc timeline` shows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Event, EventKind, SCHEMA, Stage};

/// Longest pause in seconds between two nodes of one start: a node starts when one before it is ready.
const PAUSE: f64 = 10.0;

/// The last start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Timeline {
    pub(crate) schema: u32,
    pub(crate) cluster: String,
    /// When the first QEMU started, in seconds since 1970.
    pub(crate) began: f64,
    /// Seconds from then until the last node's last stage.
    pub(crate) took: f64,
    /// In the order in which they started.
    pub(crate) nodes: Vec<NodeTimeline>,
}

/// The start of one node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct NodeTimeline {
    pub(crate) node: String,
    /// In their order; the first is `started`.
    pub(crate) stages: Vec<Reached>,
}

/// A stage that a node has reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Reached {
    pub(crate) stage: Stage,
    /// Seconds since the first QEMU started.
    pub(crate) at: f64,
}

impl NodeTimeline {
    pub(crate) fn is_ready(&self) -> bool {
        self.stages.iter().any(|r| r.stage == Stage::Ready)
    }

    fn begin(&self) -> f64 {
        self.stages.first().map_or(0.0, |r| r.at)
    }

    pub(crate) fn end(&self) -> f64 {
        self.stages.last().map_or(0.0, |r| r.at)
    }

    /// The waits of the node: each stage that it waited for, from when to when.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (Stage, f64, f64)> {
        let next = self.stages.iter().skip(1);
        self.stages
            .iter()
            .zip(next)
            .map(|(from, to)| (to.stage, from.at, to.at))
    }
}

impl Timeline {
    /// The last start in a cluster's events, of the nodes that it has; `None` if none of them has started.
    pub(crate) fn of(
        cluster: &str,
        events: impl Iterator<Item = Event>,
        has: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let mut last: BTreeMap<String, Vec<Reached>> = BTreeMap::new();
        for event in events {
            let Some(stage) = stage(event.event).filter(|_| has(&event.node)) else {
                continue;
            };
            let at = event.time;
            if stage == Stage::Started {
                last.insert(event.node, vec![Reached { stage, at }]);
            } else if let Some(stages) = last.get_mut(&event.node)
                && stages
                    .last()
                    .is_some_and(|r| r.stage < stage && r.stage < Stage::Ready)
            {
                stages.push(Reached { stage, at });
            }
        }
        let all = last
            .into_iter()
            .map(|(node, stages)| NodeTimeline { node, stages });
        let mut nodes = together(all.collect());
        let began = nodes.first()?.begin();
        for reached in nodes.iter_mut().flat_map(|n| &mut n.stages) {
            reached.at -= began;
        }
        let took = nodes.iter().map(NodeTimeline::end).fold(0.0, f64::max);
        Some(Self {
            schema: SCHEMA,
            cluster: cluster.to_owned(),
            began,
            took,
            nodes,
        })
    }
}

/// The nodes that started together with the one that started last.
fn together(mut all: Vec<NodeTimeline>) -> Vec<NodeTimeline> {
    all.sort_by(|a, b| b.begin().total_cmp(&a.begin()));
    let mut began = all.first().map_or(0.0, NodeTimeline::begin);
    // An earlier node may bring another one in that started before both.
    loop {
        let joined = all.iter().filter(|n| n.end() + PAUSE >= began);
        let first = joined.map(NodeTimeline::begin).fold(began, f64::min);
        if first >= began {
            break;
        }
        began = first;
    }
    all.retain(|n| n.begin() >= began);
    all.reverse();
    all
}

fn stage(kind: EventKind) -> Option<Stage> {
    let all = [
        Stage::Started,
        Stage::Kernel,
        Stage::Woken,
        Stage::Identity,
        Stage::Lease,
        Stage::Ssh,
        Stage::Ready,
        Stage::Ended,
    ];
    all.into_iter()
        .find(|stage| EventKind::from(*stage) == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event((time, node, event): &(f64, &str, EventKind)) -> Event {
        Event {
            event: *event,
            node: (*node).to_owned(),
            note: String::new(),
            number: 0,
            time: *time,
        }
    }

    #[test]
    fn only_the_last_start_is_shown_and_its_nodes_together() {
        use EventKind::{Ended, Firewall, Identity, Lease, Ready, Started};
        let events = [
            (10.0, "a", Started),
            (11.0, "old", Started),
            (12.0, "a", Ready),
            (90.0, "a", Ended),
            (100.0, "b", Started),
            (101.0, "b", Lease),
            (101.5, "", Firewall),
            // A stage is reached once.
            (102.0, "b", Identity),
            (102.0, "a", Started),
            (103.0, "b", Ready),
            (104.0, "a", Identity),
            (104.0, "b", Lease),
        ];
        let timeline = Timeline::of("k80", events.iter().map(event), |_| true).unwrap();
        assert_eq!((timeline.began, timeline.took), (100.0, 4.0));
        let names: Vec<_> = timeline.nodes.iter().map(|n| n.node.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let waits: Vec<_> = timeline.nodes[0].waits().collect();
        assert_eq!(waits, [(Stage::Lease, 0.0, 1.0), (Stage::Ready, 1.0, 3.0)]);
        assert!(timeline.nodes[0].is_ready() && !timeline.nodes[1].is_ready());
        assert_eq!(Timeline::of("k80", std::iter::empty(), |_| true), None);
        // Of a node that was removed meanwhile nothing is shown.
        let left = Timeline::of("k80", events.iter().map(event), |node| node != "b").unwrap();
        let names: Vec<_> = left.nodes.iter().map(|n| n.node.as_str()).collect();
        assert_eq!((left.began, names), (102.0, vec!["a"]));
    }
}

//! What `kvmc events` tells, in lines.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Event, SCHEMA};

/// A line of `kvmc events`, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct EventLine {
    schema: u32,
    #[serde(flatten)]
    pub(crate) told: EventTold,
}

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum EventTold {
    /// The state of all nodes, which includes all events up to a number.
    State {
        number: u64,
        nodes: Vec<NodeState>,
    },
    Event(Event),
    /// These events happened, and are not kept any more.
    Missed {
        from: u64,
        to: u64,
    },
}

/// A node's state, in the words of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct NodeState {
    pub(crate) name: String,
    pub(crate) state: String,
}

impl From<EventTold> for EventLine {
    fn from(told: EventTold) -> Self {
        Self {
            schema: SCHEMA,
            told,
        }
    }
}

//! The plan of `up`, which `kvmc plan` shows and prints as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `up` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PlanReport {
    pub(crate) schema: u32,
    pub(crate) cluster: String,
    /// The cluster does not exist yet.
    pub(crate) is_new: bool,
    pub(crate) settings: Vec<SettingChange>,
    pub(crate) nodes: Vec<NodeChange>,
    /// The steps in words, in their order.
    pub(crate) steps: Vec<String>,
}

impl PlanReport {
    /// Whether `up` would do nothing.
    pub(crate) const fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.nodes.is_empty() && self.steps.is_empty()
    }
}

/// A setting that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SettingChange {
    pub(crate) key: String,
    /// `None` for none.
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// Where the new value came from.
    pub(crate) source: Option<String>,
    pub(crate) effect: Effect,
}

/// A node that comes, goes, starts or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NodeChange {
    pub(crate) node: String,
    /// What changes, in words.
    pub(crate) what: String,
    pub(crate) effects: Vec<Effect>,
}

/// When a change takes effect, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Effect {
    Live,
    NextStart,
    NewNode,
    RemovesNode,
    LosesData,
}

impl Effect {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NextStart => "at the next start",
            Self::NewNode => "new node",
            Self::RemovesNode => "removes a node",
            Self::LosesData => "loses data",
        }
    }
}

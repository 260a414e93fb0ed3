//! Forks, as verbs report them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::report::{UpReport, seconds};

fn seconds_if_any<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, to),
        None => to.serialize_none(),
    }
}

/// A cluster that was made from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Forked {
    pub(crate) name: String,
    pub(crate) of: String,
    /// The snapshot that it goes on from.
    pub(crate) snapshot: String,
    pub(crate) nodes: usize,
    /// How long the first cluster's guests stood still, in JSON as seconds; `None` if the snapshot was there.
    #[serde(serialize_with = "seconds_if_any")]
    #[schemars(with = "Option<f64>")]
    pub(crate) paused: Option<Duration>,
    /// Until its folder was written, then until its nodes ran, in JSON as seconds.
    #[serde(serialize_with = "seconds")]
    #[schemars(with = "f64")]
    pub(crate) took: Duration,
}

/// The result of `fork`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ForkReport {
    #[serde(flatten)]
    pub(crate) forked: Forked,
    /// How the nodes of the fork started.
    pub(crate) start: UpReport,
}

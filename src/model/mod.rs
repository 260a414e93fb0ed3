//! Types that are shown or sent, for use in every room. They have no effects and use no other room.

mod accelerator;
mod board;
mod cause;
mod event;
mod exit;
mod image;
mod progress;
mod report;
mod stage;
mod status;

pub(crate) use accelerator::Accelerator;
pub(crate) use board::{Board, NodeView, Vitals};
pub(crate) use cause::Cause;
pub(crate) use event::{Event, EventKind};
pub(crate) use exit::{Exit, Interrupted, NothingThere, Usage};
pub(crate) use image::{CatalogueEntry, FrozenReport, ImageDetail, ImageReport};
pub(crate) use progress::Progress;
pub(crate) use report::{
    DownReport, Finding, ForwardReport, Found, NodeFailure, NodeStop, PlanReport, StopReport,
    UpOutcome, UpReport, Verdict,
};
pub(crate) use stage::Stage;
pub(crate) use status::{
    ClusterStatus, EndStatus, FirewallStatus, MachineStatus, NetworkStatus, NicStatus, NodeStatus,
    RestoredStatus, SCHEMA, VitalsStatus,
};

//! Types that are shown or sent, for use in every room. They have no effects and use no other room.

mod accelerator;
mod board;
mod cause;
mod cluster_list;
mod disk_usage;
mod event;
mod event_line;
mod exit;
mod fault;
mod fork;
mod image;
mod note;
mod plan;
mod progress;
mod reach;
mod report;
mod snapshot;
mod stage;
mod status;
mod tie;
mod timeline;
mod top;
mod usage;

pub(crate) use accelerator::Accelerator;
pub(crate) use board::{Board, NodeView, Vitals};
pub(crate) use cause::Cause;
pub(crate) use cluster_list::{ClusterList, ClusterRow};
pub(crate) use disk_usage::{DiskKind, DiskRow, DiskUsage, Prune};
pub(crate) use event::{Event, EventKind};
pub(crate) use event_line::{EventLine, EventTold, NodeState};
pub(crate) use exit::{Exit, Interrupted, NothingThere, RemovesNodes, Usage, spoils};
pub(crate) use fault::{Fault, SeenFault};
pub(crate) use fork::{ForkReport, Forked};
pub(crate) use image::{
    CatalogueEntry, FrozenReport, ImageDetail, ImageExport, ImagePruning, ImageRemoval, ImageReport,
};
pub(crate) use note::Note;
pub(crate) use plan::{Effect, NodeChange, PlanReport, SettingChange};
pub(crate) use progress::Progress;
pub(crate) use reach::{
    CopyReport, ExecOutcome, ExecOutput, ExecReport, LogLine, LogOutput, LogSource, NicAddresses,
    NodeAddresses, NodeExec, NodeSync, Shown, Stream, SyncReport, TieReport,
};
pub(crate) use report::{
    DoctorReport, DownReport, Finding, ForwardChange, ForwardReport, Found, NodeFailure, NodeStop,
    QemuVersion, StopReport, SupportReport, UpOutcome, UpReport, Verdict, VersionReport,
};
pub(crate) use snapshot::{
    Change, DiskDiff, Exported, FileDiff, NodeDiff, RolledBack, Saved, SnapshotDiff, SnapshotList,
    SnapshotRemoval, SnapshotRow, Tried, ended_sessions,
};
pub(crate) use stage::Stage;
pub(crate) use status::{
    ClusterStatus, EndStatus, FaultStatus, FirewallStatus, MachineStatus, NetworkStatus, NicStatus,
    NodeStatus, RestoredStatus, SCHEMA, VitalsStatus,
};
pub(crate) use tie::{TieKind, TieStatus};
pub(crate) use timeline::{NodeTimeline, Timeline};
pub(crate) use top::{TopHost, TopNode, TopSample, Traffic};
pub(crate) use usage::UsageStatus;

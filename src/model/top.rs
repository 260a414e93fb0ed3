//! A look at a cluster for `top`, which repeats it.

use super::UsageStatus;

/// What one look has seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TopSample {
    pub(crate) cluster: String,
    /// `None` if there is no such cluster.
    pub(crate) phase: Option<String>,
    pub(crate) accelerator: String,
    /// Whether the keeper answers.
    pub(crate) keeper: bool,
    pub(crate) host: TopHost,
    pub(crate) nodes: Vec<TopNode>,
    /// Seconds of a clock that only goes forward.
    pub(crate) time: f64,
}

/// The host at the time of the look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct TopHost {
    pub(crate) cores: u32,
    /// The load average over a minute.
    pub(crate) load: Option<f64>,
    /// Bytes of RAM.
    pub(crate) memory: Option<u64>,
    /// Bytes of RAM that programs can still take.
    pub(crate) available: Option<u64>,
}

/// A node at the time of the look.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TopNode {
    pub(crate) name: String,
    /// Its role and the groups of the inventory.
    pub(crate) groups: Vec<String>,
    /// The state in words.
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    pub(crate) vcpus: u32,
    /// RAM in bytes, as the guest has it.
    pub(crate) ram: u64,
    pub(crate) usage: UsageStatus,
    /// Bytes since QEMU's start; `None` if unknown.
    pub(crate) traffic: Option<Traffic>,
}

/// Bytes that a node has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Received by the guest's NICs.
    pub(crate) received: u64,
    /// Sent by the guest's NICs.
    pub(crate) sent: u64,
    /// Read by QEMU from the host's disks.
    pub(crate) read: u64,
    /// Written by QEMU to the host's disks.
    pub(crate) written: u64,
}

//! What nodes use of their host.

use schemars::JsonSchema;
use serde::Serialize;

/// What a node uses of its host; null if it is unknown or the node does not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct UsageStatus {
    /// Seconds since QEMU's start.
    pub(crate) uptime: Option<f64>,
    /// Host cores that QEMU kept busy during the last seconds.
    pub(crate) cpu: Option<f64>,
    /// Seconds that QEMU ran on cores since its start.
    pub(crate) cpu_seconds: Option<f64>,
    /// Bytes of QEMU's memory in the host's RAM.
    pub(crate) rss: Option<u64>,
    /// Its own bytes of these, and its part of the bytes that it shares.
    pub(crate) pss: Option<u64>,
    /// Bytes that it shares with other processes.
    pub(crate) shared: Option<u64>,
    /// Bytes of its own.
    pub(crate) private: Option<u64>,
    /// Bytes that the node's disk takes on the host's.
    pub(crate) grown: Option<u64>,
}

impl UsageStatus {
    /// Replaces the cores that were busy by those since an earlier look, if the same QEMU runs.
    pub(crate) fn count_since(&mut self, before: &Self) {
        let (Some(uptime), Some(was_up)) = (self.uptime, before.uptime) else {
            return;
        };
        if let (Some(now), Some(then)) = (self.cpu_seconds, before.cpu_seconds)
            && uptime > was_up
        {
            self.cpu = Some((now - then).max(0.0) / (uptime - was_up));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_cores_are_counted_between_two_looks_at_one_process() {
        let look = |uptime, cpu_seconds| UsageStatus {
            uptime: Some(uptime),
            cpu_seconds: Some(cpu_seconds),
            ..UsageStatus::default()
        };
        let mut now = look(12.0, 7.0);
        now.count_since(&look(10.0, 4.0));
        assert_eq!(now.cpu, Some(1.5));
        // Another QEMU, which began to run in between.
        let mut restarted = look(1.0, 0.5);
        restarted.count_since(&look(10.0, 4.0));
        assert_eq!(restarted.cpu, None);
    }
}

//! Measures the CPU time that the host gives to a node's vcpus. An emulated guest has no steal clock, so the waits of
//! its threads are read from outside (`run_delay` of Linux's Documentation/scheduler/sched-stats.rst).

use std::path::Path;
use std::time::{Duration, Instant};

/// With `debug-threads=on`, QEMU names a vcpu's thread `CPU 0/TCG` or `CPU 0/KVM`.
const VCPU: &str = "CPU ";

/// The waits of a node's vcpus at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VcpuWaits {
    at: Instant,
    /// The total time that they were ready to run while the host ran something else.
    waited: Duration,
    vcpus: u32,
}

impl VcpuWaits {
    /// The waits in a QEMU's process; `None` if it has ended or the host does not count them.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()).join("task"))
    }

    fn read(tasks: &Path) -> Option<Self> {
        let mut turns = Self {
            at: Instant::now(),
            waited: Duration::ZERO,
            vcpus: 0,
        };
        for task in std::fs::read_dir(tasks).ok()?.flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.starts_with(VCPU) {
                let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
                let waited = text.split_whitespace().nth(1)?.parse().ok()?;
                turns.waited += Duration::from_nanos(waited);
                turns.vcpus += 1;
            }
        }
        (turns.vcpus > 0).then_some(turns)
    }

    /// The share of the time since `before` that the vcpus waited for a core, from 0 to 1.
    pub(crate) fn steal_since(&self, before: &Self) -> f64 {
        let wall = self.at.duration_since(before.at).as_secs_f64() * f64::from(self.vcpus);
        let waited = self.waited.saturating_sub(before.waited).as_secs_f64();
        if wall > 0.0 {
            (waited / wall).min(1.0)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_waits_of_vcpu_threads_count() {
        let dir = tempfile::tempdir().unwrap();
        let task = |id: &str, name: &str, waited: u64| {
            let dir = dir.path().join(id);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
            std::fs::write(dir.join("schedstat"), format!("5 {waited} 7\n")).unwrap();
        };
        assert!(VcpuWaits::read(dir.path()).is_none());
        task("1", "qemu-system-aar", 99_000_000_000);
        task("2", "CPU 0/TCG", 1_000_000_000);
        task("3", "CPU 1/TCG", 2_000_000_000);
        let before = VcpuWaits::read(dir.path()).unwrap();
        assert_eq!((before.vcpus, before.waited), (2, Duration::from_secs(3)));
        task("2", "CPU 0/TCG", 1_500_000_000);
        let mut after = VcpuWaits::read(dir.path()).unwrap();
        after.at = before.at + Duration::from_secs(1);
        // Half a second of the two seconds that two vcpus have within one.
        assert!((after.steal_since(&before) - 0.25).abs() < 1e-9);
        after.at = before.at;
        assert!(after.steal_since(&before).abs() < 1e-9);
    }
}

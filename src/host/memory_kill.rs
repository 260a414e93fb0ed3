//! Finds whether the kernel killed a process because memory ran out, from its log and the cgroups.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::cgroup::{ROOT, Version, places};

/// The longest record that a read of /dev/kmsg returns, in bytes (`CONSOLE_EXT_LOG_MAX`).
const LONGEST_RECORD: usize = 8192;
/// Most records that are read, more than any host's log buffer holds.
const MOST_RECORDS: usize = 1 << 20;

/// The finding in the kernel's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kmsg {
    /// The kernel killed a process of that user because memory ran out.
    Killed,
    /// The kernel killed no such process.
    Silent,
    /// The log cannot be read here.
    Closed,
}

/// Searches for a memory kill of a process of `uid` that started `start_time` clock ticks after boot. Each node has
/// its own user id; pids mean nothing across pid namespaces.
pub(crate) fn kmsg(uid: u32, start_time: u64) -> Kmsg {
    let opened = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open("/dev/kmsg");
    let Ok(mut log) = opened else {
        return Kmsg::Closed;
    };
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let ticks = ticks.ok().flatten().and_then(|t| u64::try_from(t).ok());
    let since = start_time.saturating_mul(1_000_000) / ticks.filter(|t| *t > 0).unwrap_or(100);
    let mut record = vec![0; LONGEST_RECORD];
    for _ in 0..MOST_RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(n) => {
                let text = String::from_utf8_lossy(record.get(..n).unwrap_or_default());
                if killed(&text).is_some_and(|(at, who)| at >= since && who == uid) {
                    return Kmsg::Killed;
                }
            }
            // A record was overwritten during the read. The next read continues after it.
            Err(e) if e.raw_os_error() == Some(nix::libc::EPIPE) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(_) => return Kmsg::Closed,
        }
    }
    Kmsg::Silent
}

/// Parses a record of /dev/kmsg (Linux's Documentation/ABI/testing/dev-kmsg) about a memory kill: microseconds after
/// boot, and the user id of the process.
pub(crate) fn killed(record: &str) -> Option<(u64, u32)> {
    let (head, text) = record.split_once(';')?;
    let text = text.lines().next()?;
    // The kernel writes "oom-kill:constraint=…,task=…,pid=…,uid=…" and "Out of memory: Killed process … UID:…".
    let mark = if text.starts_with("oom-kill:") {
        "uid="
    } else if text.contains("Killed process") {
        "UID:"
    } else {
        return None;
    };
    let after = text.rsplit_once(mark)?.1;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((
        head.split(',').nth(2)?.trim().parse().ok()?,
        digits.parse().ok()?,
    ))
}

/// The counters of memory kills in a process's cgroups, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct CgroupKills {
    file: Option<PathBuf>,
    count: u64,
}

impl CgroupKills {
    pub(crate) fn of(pid: i32) -> Self {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let file = counter_file(&groups);
        let count = file.as_deref().and_then(count).unwrap_or(0);
        Self { file, count }
    }

    /// Whether a counter has grown since.
    pub(crate) fn has_grown(&self) -> bool {
        let now = self.file.as_deref().and_then(count);
        now.is_some_and(|now| now > self.count)
    }
}

/// The file with the counter, from `/proc/PID/cgroup`.
fn counter_file(groups: &str) -> Option<PathBuf> {
    places(groups, Path::new(ROOT)).into_iter().find_map(|p| {
        let file = p.group.join(match p.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        });
        file.exists().then_some(file)
    })
}

fn count(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_both_forms_of_the_kernels_memory_kill_records_are_read() {
        let long = "6,1234,98765432,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/user.slice,task=qemu-system-x86,pid=4711,uid=1912345\n SUBSYSTEM=x\n";
        assert_eq!(killed(long), Some((98_765_432, 1_912_345)));
        let short = "3,1235,98765499,-;Out of memory: Killed process 4711 (qemu-system-x86) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:1912345 pgtables:44kB oom_score_adj:0\n";
        assert_eq!(killed(short), Some((98_765_499, 1_912_345)));
        for other in [
            "",
            "6,1,2,-;hello",
            "oom-kill:uid=1",
            "6,1,x,-;oom-kill:uid=1",
            "6,1,2,-;oom-kill:constraint=x",
            "6,1,2,-;Killed process 4711, UID:",
        ] {
            assert_eq!(killed(other), None, "{other}");
        }
    }

    #[test]
    fn p20_a_memory_kill_before_the_processes_start_does_not_count() {
        assert_ne!(kmsg(u32::MAX, u64::MAX), Kmsg::Killed);
    }

    #[test]
    fn p20_a_cgroup_is_found_in_both_versions() {
        assert_eq!(counter_file("junk\n1:name=systemd:/x\n"), None);
        let own = CgroupKills::of(i32::try_from(std::process::id()).unwrap());
        assert!(!own.has_grown());
    }
}

//! What a QEMU uses of its host: time on cores and memory, proc(5).

use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

/// What a QEMU has used since its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// Seconds since its start.
    pub(crate) uptime: f64,
    /// Seconds that its threads ran on cores.
    pub(crate) cpu: f64,
    /// Bytes of its memory that are in the host's RAM.
    pub(crate) rss: u64,
}

/// How the memory of a QEMU is shared with others, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MemoryUsage {
    /// Its own pages, and its part of the pages that it shares.
    pub(crate) pss: u64,
    pub(crate) shared: u64,
    pub(crate) private: u64,
}

impl Usage {
    /// `None` if the process has ended.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(process(pid).join("stat")).ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let setting = |var| Some(sysconf(var).ok()?? as f64);
        let (ticks, page) = (
            setting(SysconfVar::CLK_TCK)?,
            setting(SysconfVar::PAGE_SIZE)?,
        );
        Self::read(&stat, &uptime, ticks, page)
    }

    /// The cores that it kept busy since `before`; `None` if that was another process.
    pub(crate) fn busy_since(&self, before: &Self) -> Option<f64> {
        let time = self.uptime - before.uptime;
        (time > 0.0).then(|| (self.cpu - before.cpu).max(0.0) / time)
    }

    /// The name in field 2 may contain anything, so counting starts after its closing bracket.
    fn read(stat: &str, uptime: &str, ticks: f64, page: f64) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<_> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let now: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            uptime: (now - field(22)? / ticks).max(0.0),
            cpu: (field(14)? + field(15)?) / ticks,
            rss: (field(24)? * page) as u64,
        })
    }
}

impl MemoryUsage {
    /// `None` if the process has ended, or if this user may not look into it. The kernel walks all pages of the
    /// process for it, which takes milliseconds for each GB.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let rollup = std::fs::read_to_string(process(pid).join("smaps_rollup")).ok()?;
        Self::read(&rollup)
    }

    fn read(rollup: &str) -> Option<Self> {
        let of = |name: &str| {
            let line = rollup.lines().find_map(|l| l.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            kib.checked_mul(1024)
        };
        Some(Self {
            pss: of("Pss:")?,
            shared: of("Shared_Clean:")? + of("Shared_Dirty:")?,
            private: of("Private_Clean:")? + of("Private_Dirty:")?,
        })
    }
}

/// Bytes that a QEMU has read from the host's disks and written to them. `None` if the process has ended, or if this user
/// may not look into it.
pub(crate) fn disk_bytes(pid: i32) -> Option<(u64, u64)> {
    read_disk_bytes(&std::fs::read_to_string(process(pid).join("io")).ok()?)
}

fn read_disk_bytes(io: &str) -> Option<(u64, u64)> {
    let of = |name: &str| {
        let value = io.lines().find_map(|l| l.strip_prefix(name))?;
        value.trim().parse().ok()
    };
    Some((of("read_bytes:")?, of("write_bytes:")?))
}

fn process(pid: i32) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_read_from_a_name_with_brackets_and_blanks() {
        let mut fields = vec!["0"; 50];
        (fields[11], fields[12], fields[19], fields[21]) = ("150", "50", "1000", "3");
        let stat = format!("7 (a) b (c) {}", fields.join(" "));
        let usage = Usage::read(&stat, "25.5 99.0\n", 100.0, 4096.0).unwrap();
        assert_eq!((usage.uptime, usage.cpu, usage.rss), (15.5, 2.0, 12288));
        let later = Usage {
            uptime: 17.5,
            cpu: 5.0,
            ..usage
        };
        assert_eq!(later.busy_since(&usage), Some(1.5));
        assert_eq!(usage.busy_since(&later), None, "it is another process");
        assert_eq!(Usage::read("7 (a", "25.5", 100.0, 4096.0), None);
        assert_eq!(Usage::read("7 (a) S 1", "25.5", 100.0, 4096.0), None);
    }

    #[test]
    fn shared_and_private_memory_are_sums_of_clean_and_dirty_pages() {
        let rollup = "5555-7777 ---p 00000000 00:00 0  [rollup]\nRss:  100 kB\nPss:  60 kB\nPss_Dirty: 9 kB\n\
             Shared_Clean:  30 kB\nShared_Dirty:  1 kB\nPrivate_Clean:  2 kB\nPrivate_Dirty:  67 kB\n";
        let usage = MemoryUsage::read(rollup).unwrap();
        assert_eq!(usage.pss, 60 << 10);
        assert_eq!((usage.shared, usage.private), (31 << 10, 69 << 10));
        assert_eq!(MemoryUsage::read(&rollup.replace("Pss:", "Pss")), None);
    }

    #[test]
    fn bytes_of_disks_are_read_without_those_of_the_page_cache() {
        let io = "rchar: 9\nwchar: 8\nsyscr: 7\nread_bytes: 4096\nwrite_bytes: 512\ncancelled_write_bytes: 0\n";
        assert_eq!(read_disk_bytes(io), Some((4096, 512)));
        assert_eq!(read_disk_bytes("rchar: 9\n"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(Usage::of(pid).unwrap().rss > 0);
        let memory = MemoryUsage::of(pid).unwrap();
        assert!(memory.pss <= memory.shared + memory.private);
        assert_eq!(Usage::of(0), None);
    }
}

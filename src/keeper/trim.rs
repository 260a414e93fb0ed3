//! Gives back memory of the program's own pages that only the keeper's start needed.

#![allow(
    unsafe_code,
    reason = "madvise on mappings whose pages are unchanged file content, which is read again when needed"
)]

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Duration;

use nix::sys::mman::{MmapAdvise, madvise};

/// Time from the start until the first trim, when the nodes are mostly started and the next host keys made.
const FIRST: Duration = Duration::from_secs(25);
const EVERY: Duration = Duration::from_secs(60);

/// Unmaps the pages of the program's text after the start, and again at an interval. Pages that are needed again come
/// back from the page cache by some hundred minor faults. An idle keeper uses less than half of the text, which also
/// holds the downloader and all verbs.
pub(super) async fn run() {
    tokio::time::sleep(FIRST).await;
    loop {
        trim();
        tokio::time::sleep(EVERY).await;
    }
}

fn trim() {
    let Ok(smaps) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for range in clean(&smaps) {
        let Some(start) = NonNull::new(range.start as *mut c_void) else {
            continue;
        };
        // SAFETY: a private, read-only mapping without changed pages; madvise(2) makes the kernel read such pages from
        // the file again.
        let _not_given_back = unsafe { madvise(start, range.len(), MmapAdvise::MADV_DONTNEED) };
    }
}

/// Read-only mappings of files without changed pages. Relocations change pages, for instance. See `/proc/PID/smaps`,
/// proc(5).
fn clean(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(size) = line.strip_prefix("Anonymous:") {
            let none = size.trim() == "0 kB";
            found.extend(candidate.take().filter(|_| none));
        } else if let Some(range) = file_mapping(line) {
            candidate = range;
        }
    }
    found
}

/// For the first line of a mapping, its addresses if it is a private, read-only mapping of a file.
#[expect(
    clippy::option_option,
    reason = "`None` for another kind of line, `Some(None)` for an unwanted mapping"
)]
fn file_mapping(line: &str) -> Option<Option<Range<usize>>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let mode = words.next()?;
    let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let is_wanted = is_file && matches!(mode, "r--p" | "r-xp");
    Some(is_wanted.then_some(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchanged_file_pages_are_given_back() {
        let smaps = "\
1000-3000 r-xp 00000000 fe:00 7    /usr/bin/kvmc
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
3000-4000 r--p 00002000 fe:00 7    /usr/bin/kvmc
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 7    /usr/bin/kvmc
Anonymous:             0 kB
5000-6000 r--p 00000000 00:00 0    [vvar]
Anonymous:             0 kB
6000-7000 r--s 00000000 fe:00 9    /etc/a file
Anonymous:             0 kB
8000-9000 r--p 00000000 fe:00 8    /lib/libc.so.6
Anonymous:             0 kB
";
        assert_eq!(clean(smaps), [0x1000..0x3000, 0x8000..0x9000]);
        assert!(clean("x\nAnonymous: 0 kB\n1-2\n-\n1-z r-xp").is_empty());
    }

    #[test]
    fn the_program_runs_on_after_its_pages_are_given_back() {
        let resident = || {
            let smaps = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = smaps.lines().find(|l| l.starts_with("RssFile:")).unwrap();
            let kib: u64 = line
                .split_ascii_whitespace()
                .nth(1)
                .unwrap()
                .parse()
                .unwrap();
            kib
        };
        let before = resident();
        trim();
        assert!(resident() < before, "{before}");
    }
}

//! A guest's memory as its QEMU has it mapped.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::{PAGE, PAGE_64};
use crate::warm::Memory;

/// Bits of an entry of /proc/PID/pagemap, Linux' Documentation/admin-guide/mm/pagemap.rst.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// A page of a file or of shared memory: the guest has not written to it.
const OF_FILE: u64 = 1 << 61;
/// Bytes of an entry.
const ENTRY: u64 = 8;
/// Entries that are read at once.
const ENTRIES: u64 = 1 << 14;
/// Runs of pages that one call copies, of at most 1024 (`UIO_MAXIOV`).
const RUNS: usize = 512;
/// Bytes that one call copies, of at most 2 GiB (`MAX_RW_COUNT`).
const LONGEST: usize = 256 << 20;

/// The memory of a guest in a running QEMU.
#[derive(Debug)]
pub(crate) struct Ram {
    pid: i32,
    address: u64,
    size: u64,
    /// The host's page size in bytes.
    page: u64,
    /// Belongs to this process even if another one gets its pid.
    pagemap: File,
}

impl Ram {
    /// Finds the `size` bytes of guest memory of a QEMU. A woken node has the frozen machine's memory mapped privately,
    /// a booted one has anonymous memory.
    ///
    /// # Errors
    /// Fails if the process cannot be inspected, or if not exactly one mapping can be the guest's memory.
    pub(crate) fn find(pid: i32, size: u64) -> Result<Self> {
        let maps = fs_err::read_to_string(format!("/proc/{pid}/maps"))?;
        let areas: Vec<_> = maps.lines().filter_map(area).collect();
        let address = match frozen(&areas, size)? {
            Some(address) => address,
            None => anonymous(&areas, size, || {
                Ok(fs_err::read_to_string(format!("/proc/{pid}/smaps"))?)
            })?,
        };
        let page = sysconf(SysconfVar::PAGE_SIZE)?.context("the host's page size is unknown")?;
        let page = u64::try_from(page)?;
        ensure!(
            page.is_multiple_of(PAGE_64) && size.is_multiple_of(page) && size > 0,
            "{size} bytes of memory are no whole number of pages"
        );
        let pagemap = fs_err::File::open(format!("/proc/{pid}/pagemap"))?;
        Ok(Self {
            pid,
            address,
            size,
            page,
            pagemap: pagemap.into_parts().0,
        })
    }

    /// Bytes of memory.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the pages that a save copies.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(crate) fn own(&self) -> Result<u64> {
        Ok(self.written()?.len() as u64 * PAGE_64)
    }

    /// Numbers of the pages that the guest has written to or, if it booted, also read, in ascending order.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub(super) fn written(&self) -> Result<Vec<u32>> {
        let (first, count) = (self.address / self.page, self.size / self.page);
        let parts = self.page / PAGE_64;
        let mut pages = Vec::new();
        let mut buffer = vec![0; usize::try_from(ENTRIES * ENTRY)?];
        let mut at = 0;
        while at < count {
            let entries = ENTRIES.min(count - at);
            let buffer = buffer
                .get_mut(..usize::try_from(entries * ENTRY)?)
                .unwrap_or_default();
            self.pagemap
                .read_exact_at(buffer, (first + at) * ENTRY)
                .context("the list of its pages cannot be read")?;
            for (number, entry) in (at..).zip(buffer.as_chunks().0) {
                if is_written(u64::from_ne_bytes(*entry)) {
                    for part in 0..parts {
                        pages.push(u32::try_from(number * parts + part)?);
                    }
                }
            }
            at += entries;
        }
        Ok(pages)
    }

    /// Copies pages, in ascending order, to the buffer one after the other.
    ///
    /// # Errors
    /// Fails if the process has ended, or if this process may not read its memory.
    pub(super) fn read(&self, pages: &[u32], buffer: &mut [u8]) -> Result<()> {
        let mut rest = buffer;
        let mut remote = Vec::with_capacity(RUNS);
        let mut runs = runs(pages).peekable();
        while runs.peek().is_some() {
            remote.clear();
            let mut total = 0;
            while remote.len() < RUNS
                && let Some((first, count)) = runs.next_if(|(_, n)| total + n * PAGE <= LONGEST)
            {
                let base = self.address + u64::from(first) * PAGE_64;
                let base = usize::try_from(base)?;
                let len = count * PAGE;
                remote.push(RemoteIoVec { base, len });
                total += len;
            }
            let (part, after) = rest
                .split_at_mut_checked(total)
                .context("the buffer is too small")?;
            rest = after;
            read(self.pid, &remote, part)?;
        }
        Ok(())
    }
}

/// Copies parts of a process's memory to a buffer that is as long as all of them.
fn read(pid: i32, remote: &[RemoteIoVec], buffer: &mut [u8]) -> Result<()> {
    let expected = buffer.len();
    let mut local = [IoSliceMut::new(buffer)];
    let got = process_vm_readv(Pid::from_raw(pid), &mut local, remote);
    let got = got.context("a QEMU's memory cannot be read")?;
    ensure!(
        got == expected,
        "a QEMU's memory cannot be read: {got} of {expected} bytes"
    );
    Ok(())
}

/// Whether the guest has a page of its own there.
const fn is_written(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0
}

/// The first pages and the lengths of runs of consecutive pages, none longer than one call can copy.
fn runs(pages: &[u32]) -> impl Iterator<Item = (u32, usize)> {
    pages
        .chunk_by(|a, b| a.checked_add(1) == Some(*b))
        .flat_map(|run| run.chunks(LONGEST / PAGE))
        .filter_map(|run| Some((*run.first()?, run.len())))
}

/// A line of /proc/PID/maps, proc(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Area<'a> {
    start: u64,
    end: u64,
    permissions: &'a str,
    offset: u64,
    name: &'a str,
}

impl Area<'_> {
    fn is_frozen(&self) -> bool {
        let name = self.name.strip_prefix("/memfd:").unwrap_or_default();
        name.split(' ').next() == Some(Memory::NAME)
    }
}

fn area(line: &str) -> Option<Area<'_>> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after.trim_start();
        word
    };
    let (start, end) = word().split_once('-')?;
    let permissions = word();
    let offset = word();
    let (_device, _inode) = (word(), word());
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    (start < end).then_some(Area {
        start,
        end,
        permissions,
        offset: number(offset)?,
        name: rest,
    })
}

/// The address of a frozen machine's memory, if the process has that mapped. The kernel may show the mapping in
/// several pieces.
fn frozen(areas: &[Area<'_>], size: u64) -> Result<Option<u64>> {
    let mut ours = areas.iter().filter(|a| a.is_frozen()).peekable();
    let Some(first) = ours.peek().copied() else {
        return Ok(None);
    };
    let mut end = first.start;
    for area in ours {
        let follows = area.start == end && area.offset == end - first.start;
        ensure!(
            follows && area.permissions == "rw-p",
            "a guest's memory is not mapped as one private piece"
        );
        end = area.end;
    }
    let mapped = end - first.start;
    ensure!(
        mapped == size,
        "a guest's memory has {mapped} bytes; expected {size}"
    );
    Ok(Some(first.start))
}

/// The address of a booted guest's memory: anonymous, of that size, and alone in that. Where it is not alone, it is
/// the one that no child of QEMU gets (`MADV_DONTFORK`).
fn anonymous(
    areas: &[Area<'_>],
    size: u64,
    details: impl FnOnce() -> Result<String>,
) -> Result<u64> {
    let fits = |a: &&Area<'_>| {
        a.permissions == "rw-p"
            && (a.name.is_empty() || a.name.starts_with("[anon"))
            && a.end - a.start == size
    };
    let found: Vec<_> = areas.iter().filter(fits).map(|a| a.start).collect();
    match found.as_slice() {
        [] => bail!("no mapping of {size} bytes is a guest's memory"),
        [one] => return Ok(*one),
        _ => {}
    }
    let not_forked = not_forked(&details()?);
    let mut found = found.into_iter().filter(|start| not_forked.contains(start));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => bail!("several mappings of {size} bytes can be a guest's memory"),
    }
}

/// The starts of the areas in /proc/PID/smaps, proc(5), that a child does not get.
fn not_forked(details: &str) -> Vec<u64> {
    let mut start = None;
    let mut found = Vec::new();
    for line in details.lines() {
        if let Some(area) = area(line) {
            start = Some(area.start);
        } else if let Some(flags) = line.strip_prefix("VmFlags:") {
            let is_one = flags.split_ascii_whitespace().any(|flag| flag == "dc");
            found.extend(start.filter(|_| is_one));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 0x2000_0000;

    fn areas(text: &str) -> Vec<Area<'_>> {
        text.lines().filter_map(area).collect()
    }

    fn fail() -> Result<String> {
        bail!("smaps was read")
    }

    #[test]
    fn a_woken_nodes_memory_is_the_private_mapping_of_the_frozen_one() {
        let maps = "\
55d000000000-55d000400000 r-xp 00000000 08:01 1234                       /usr/bin/qemu-system-x86_64
7f0000000000-7f0010000000 rw-p 00000000 00:01 77                         /memfd:kvmc-ram (deleted)
7f0010000000-7f0020000000 rw-p 10000000 00:01 77                         /memfd:kvmc-ram (deleted)
7f0030000000-7f0050000000 rw-p 00000000 00:00 0 
";
        assert_eq!(frozen(&areas(maps), SIZE).unwrap(), Some(0x7f00_0000_0000));
        let refused = |from: &str, to: &str| {
            let maps = maps.replace(from, to);
            frozen(&areas(&maps), SIZE).unwrap_err().to_string()
        };
        let pieces = "a guest's memory is not mapped as one private piece";
        assert_eq!(refused("rw-p 10000000", "rw-s 10000000"), pieces);
        assert_eq!(refused("rw-p 10000000", "rw-p 00000000"), pieces);
        assert_eq!(
            refused("7f0010000000-7f0020", "7f0011000000-7f0020"),
            pieces
        );
        assert_eq!(
            frozen(&areas(maps), 2 * SIZE).unwrap_err().to_string(),
            "a guest's memory has 536870912 bytes; expected 1073741824"
        );
        assert_eq!(
            frozen(&areas(&maps.replace("kvmc-ram", "kvmc-ram2")), SIZE).unwrap(),
            None
        );
    }

    #[test]
    fn a_booted_nodes_memory_is_the_one_anonymous_mapping_of_its_size() {
        let maps = "\
7f0000000000-7f0020000000 rw-p 00000000 00:00 0 
7f0020000000-7f0020001000 ---p 00000000 00:00 0 
7f0040000000-7f0060000000 rwxp 00000000 00:00 0 
7f0060000000-7f0080000000 rw-p 00000000 00:00 0                          [heap]
";
        assert_eq!(
            anonymous(&areas(maps), SIZE, fail).unwrap(),
            0x7f00_0000_0000
        );
        assert_eq!(
            anonymous(&areas(maps), 4096, fail).unwrap_err().to_string(),
            "no mapping of 4096 bytes is a guest's memory"
        );
        // Two of that size: the one that QEMU does not give to children.
        let two = maps.replace("rwxp", "rw-p");
        let details = |flags: [&str; 2]| {
            let [a, b] = flags;
            format!(
                "7f0000000000-7f0020000000 rw-p 00000000 00:00 0 \nSize: 524288 kB\nVmFlags: rd wr {a} ac\n\
                 7f0040000000-7f0060000000 rw-p 00000000 00:00 0 \nVmFlags: rd wr {b} ac\n"
            )
        };
        let found = |flags| anonymous(&areas(&two), SIZE, || Ok(details(flags)));
        assert_eq!(found(["mr", "dc"]).unwrap(), 0x7f00_4000_0000);
        for flags in [["dc", "dc"], ["mr", "mr"]] {
            assert_eq!(
                found(flags).unwrap_err().to_string(),
                "several mappings of 536870912 bytes can be a guest's memory"
            );
        }
    }

    #[test]
    fn a_line_that_is_no_area_is_left_out() {
        for line in [
            "",
            "VmFlags: rd wr",
            "Size:                  4 kB",
            "7f00-7f00 rw-p 0 0:0 0",
            "zz-7f00 rw-p 0 0:0 0",
            "ffffffffffffffffff-0 rw-p 0 0:0 0",
        ] {
            assert_eq!(area(line), None, "{line}");
        }
    }

    #[test]
    fn a_page_counts_as_written_if_it_is_there_and_not_of_the_file() {
        assert!(is_written(PRESENT) && is_written(SWAPPED | 5));
        assert!(!is_written(PRESENT | OF_FILE) && !is_written(SWAPPED | OF_FILE));
        assert!(!is_written(0) && !is_written(OF_FILE));
    }

    #[test]
    fn runs_are_of_consecutive_pages_and_no_longer_than_a_call_copies() {
        let all = |pages: &[u32]| runs(pages).collect::<Vec<_>>();
        assert_eq!(all(&[]), []);
        assert_eq!(all(&[1, 2, 3, 7, 9, 10]), [(1, 3), (7, 1), (9, 2)]);
        assert_eq!(all(&[u32::MAX - 1, u32::MAX]), [(u32::MAX - 1, 2)]);
        let most = u32::try_from(LONGEST / PAGE).unwrap();
        let many: Vec<_> = (0..=most).collect();
        assert_eq!(all(&many), [(0, LONGEST / PAGE), (most, 1)]);
    }
}
